"""`read` and `last_decision` say what happened, and to whom."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, broken, gradients, one, scripted, stepper


def test_a_fresh_state_says_that_nothing_happened() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard())
    seen = octl.read(tx.init(PARAMS))
    assert (seen.step, seen.accepted, seen.refused, seen.clipped) == (0, 0, 0, 0)
    assert (seen.stop, seen.alarms, seen.signals) == ((), (), {})
    assert (seen.lr_scale, seen.clip_norm, seen.skipped) == (1.0, np.inf, False)
    assert seen.grad_norm is None


def test_a_reading_is_plain_python() -> None:
    inner = octl.inject(optax.adamw, learning_rate=0.1, weight_decay=0.1)
    controller = octl.together(
        guard=octl.guard(),
        rate=octl.lr.plateau(3, monitor="loss"),
        k=one(knobs={"d": 2}),
    )
    tx: Any = octl.control(inner, controller)
    _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, value=1.0)

    def plain(x: Any) -> bool:
        if isinstance(x, dict):
            return all(map(plain, x.values()))
        return x is None or type(x) in (int, float, bool, tuple)

    assert {name for name, x in vars(octl.read(state)).items() if not plain(x)} == set()


def test_several_states_are_groups_in_tree_order() -> None:
    tx: Any = optax.chain(
        octl.clip_by(octl.clip.zscore()), octl.control(optax.sgd(0.1), octl.guard())
    )
    step, state = stepper(tx), tx.init(PARAMS)
    _, state = step(broken(), state, PARAMS, value=1.0)
    seen = octl.read(state)
    assert [group.refused for group in seen.groups] == [0, 1]
    assert seen.refused == 0  # of the first
    assert bool(octl.last_decision(state).skip)  # of all


def test_partitions_are_read_by_group() -> None:
    labels = {"w": "fast", "b": "slow", "s": "slow"}
    tx: Any = optax.partition(
        {
            "fast": octl.control(
                octl.inject(optax.sgd, learning_rate=1.0), one(lr_scale=0.5)
            ),
            "slow": octl.control(octl.inject(optax.sgd, learning_rate=0.1), one()),
        },
        labels,
    )
    _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS)
    rates: Any = [group.learning_rate for group in octl.read(state).groups]
    np.testing.assert_allclose(rates, [0.5, 0.1], rtol=1e-6)


def test_vmapped_states_are_read_with_their_axis() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard(), learning_rate=0.1)

    @jax.jit
    @jax.vmap
    def one_step(loss: Any) -> Any:
        return tx.update(gradients(0), tx.init(PARAMS), PARAMS, value=loss)[1]

    states = one_step(jnp.array([1.0, jnp.nan, 1.0]))
    seen: Any = octl.read(states)
    np.testing.assert_array_equal(seen.refused, [0, 1, 0])
    np.testing.assert_array_equal(seen.skipped, [False, True, False])
    assert seen.alarms == ((), ("nonfinite_loss",), ())
    np.testing.assert_allclose(seen.learning_rate, [0.1] * 3)
    assert octl.last_decision(states).skip.shape == (3,)


def test_a_state_of_other_controllers_is_refused() -> None:
    swapped: list[Any] = [
        octl.control(optax.sgd(0.1), octl.together(a=a, b=b))
        for a, b in ((one(lr_scale=1), octl.guard()), (octl.guard(), one(lr_scale=1)))
    ]
    ours, theirs = (tx.init(PARAMS) for tx in swapped)
    mixed = ours._replace(f32=theirs.f32, i32=theirs.i32)
    with pytest.raises(ValueError, match="other controllers: its fingerprint is"):
        octl.read(mixed)
    same: Any = octl.control(
        optax.sgd(0.1), octl.together(a=one(lr_scale=1), b=octl.guard())
    )
    assert octl.read(ours._replace(i32=same.init(PARAMS).i32)).step == 0


def test_a_loop_inside_jit_can_run_until_the_stop() -> None:
    tx: Any = octl.control(optax.sgd(0.0), octl.stop.patience(7, monitor="loss"))

    def going(carry: Any) -> Any:
        return octl.last_decision(carry[1]).stop == 0

    def body(carry: Any) -> Any:
        params, state = carry
        updates, state = tx.update(gradients(0), state, params, value=1.0)
        return optax.apply_updates(params, updates), state

    run = jax.jit(lambda c: jax.lax.while_loop(going, body, c))
    _, state = run((PARAMS, tx.init(PARAMS)))
    assert octl.read(state).step == 8
    assert octl.read(state).stop == ("patience",)


def test_last_decision_is_that_of_the_last_step() -> None:
    fields = {"lr_scale": "a", "clip_norm": "b", "alarm": "c"}
    tx: Any = octl.control(optax.sgd(0.1), scripted(**fields))
    _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, a=0.5, b=2.0, c=4)
    decision = octl.last_decision(state)
    found = (decision.lr_scale, decision.clip_norm, decision.alarm)
    assert tuple(map(float, found)) == (0.5, 2, 4)
