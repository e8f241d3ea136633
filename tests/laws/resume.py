"""The law of resuming: saved, restored and continued is bit for bit not saved."""

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp

import optaxctl as octl
from tests.laws.compare import assert_same
from tests.laws.registry import Example
from tests.laws.tape import COUNTS, rows

SAVED_AT = 24  # after the poison, inside the stall


def resumes_exactly(example: Example) -> None:
    """The state of the controller by itself."""
    c = example.build()
    _assert_resumes(jax.jit(c.update), c.init)


def resumes_exactly_inside_control(example: Example) -> None:
    """The packed state in an optimizer, in a fresh transformation."""

    def step(row: Any, state: Any, tx: Any) -> Any:
        measured = {"grad_norm", "learning_rate", *COUNTS}
        extra = {n: x for n, x in row.items() if n not in measured}
        # The gradient is the norm that the tape says.
        updates, state = tx.update(row["grad_norm"][None], state, jnp.zeros(1), **extra)
        return (updates, octl.last_decision(state)), state

    def build() -> Any:
        return octl.control(optax.adam(0.1), example.build(), learning_rate=0.1)

    def resumed(row: Any, state: Any) -> Any:
        return step(row, state, build())

    _assert_resumes(jax.jit(resumed), lambda: build().init(jnp.zeros(1)))


def _assert_resumes(update: Any, init: Any) -> None:
    tape = list(rows())
    state = init()
    for row in tape[:SAVED_AT]:
        _, state = update(row, state)
    other = _saved_and_restored(state, jax.eval_shape(init))
    assert_same(other, state)
    for row in tape[SAVED_AT:]:
        out, state = update(row, state)
        again, other = update(row, other)
        assert_same((again, other), (out, state))


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
