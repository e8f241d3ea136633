"""The law of resuming: saved, restored and continued is bit for bit not saved."""

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

import optaxctl as octl
from tests.laws.compare import assert_same
from tests.laws.registry import Example
from tests.laws.runs import stepped
from tests.laws.tape import COUNTS, rows, stack

SAVED_AT = 24  # after the poison, inside the stall


def resumes_exactly(example: Example) -> None:
    """The state of the controller by itself."""
    steps = stepped(example)
    _assert_resumes(steps.update, steps.states, steps.outs, example.build().init)


def resumes_exactly_inside_control(example: Example) -> None:
    """The packed state in an optimizer, in a fresh transformation."""

    def fresh() -> optax.GradientTransformationExtraArgs:
        return octl.control(optax.adam(0.1), example.build(), learning_rate=0.1)

    def lowered() -> Any:
        tx = fresh()

        def step(row: Any, state: Any) -> Any:
            measured = {"grad_norm", "learning_rate", *COUNTS}
            extra = {n: x for n, x in row.items() if n not in measured}
            # The gradient is the norm that the tape says.
            gradient = row["grad_norm"][None]
            updates, state = tx.update(gradient, state, jnp.zeros(1), **extra)
            return (updates, octl.last_decision(state)), state

        return jax.jit(step).lower(rows()[0], start)

    init = lambda: fresh().init(jnp.zeros(1))
    start = init()
    before, after = lowered(), lowered()
    # One program, so that what went before may go on in its place.
    assert before.as_text() == after.as_text()
    update, states, outs = before.compile(), [start], []
    for row in rows():
        outs.append(update(row, states[-1]))
        states.append(outs[-1][1])
    _assert_resumes(update, states, outs, init)


def _assert_resumes(update: Any, states: Any, outs: Any, init: Any) -> None:
    state = _saved_and_restored(states[SAVED_AT], jax.eval_shape(init))
    assert_same(state, states[SAVED_AT])
    again = []
    # A restored array is bound to its device, for which XLA would compile once more.
    state = jax.tree.map(np.asarray, state)
    for row in rows()[SAVED_AT:]:
        again.append(update(row, state))
        state = again[-1][1]
    assert_same(stack(again), stack(outs[SAVED_AT:]))


def _saved_and_restored(state: Any, target: Any) -> Any:
    with (
        tempfile.TemporaryDirectory() as directory,
        ocp.StandardCheckpointer() as checkpointer,
    ):
        path = Path(directory) / "state"
        checkpointer.save(path, state)
        checkpointer.wait_until_finished()
        one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), target
        )
        return checkpointer.restore(path, target)
