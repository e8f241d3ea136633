"""`apply_gradients` is `update` and `apply_updates` in one."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, bits, broken, gradients, stepper

INNER: dict[str, Any] = {
    "ready-made": optax.adamw(0.01),
    "injected": octl.inject(optax.adamw, learning_rate=0.01),
    "gated": octl.inject(optax.amsgrad, learning_rate=0.01),
}
inners = pytest.mark.parametrize("inner", INNER)


@inners
def test_it_is_update_and_apply_updates(inner: str) -> None:
    controller = octl.together(guard=octl.guard(), clip=octl.clip.zscore())
    tx: Any = octl.control(INNER[inner], controller)
    separate = stepper(tx)
    joint = jax.jit(
        lambda grads, state, params: octl.apply_gradients(
            tx, grads, state, params, value=1.0
        )
    )
    params, state = other, reference = PARAMS, tx.init(PARAMS)
    for index in range(20):
        params, state = joint(gradients(index), state, params)
        other, reference = separate(gradients(index), reference, other, value=1.0)
    # The compiler may fuse the sum with what comes before it, and round once less.
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=20 * 2**-24)
    assert bits((state.i32, state.f32)) == bits((reference.i32, reference.f32))


@inners
def test_a_refused_step_returns_the_parameters_to_the_last_bit(inner: str) -> None:
    tx: Any = octl.control(INNER[inner], octl.guard())
    state = tx.init(PARAMS)
    params, after = octl.apply_gradients(tx, broken(), state, PARAMS, value=1.0)
    assert bits(params) == bits(PARAMS)
    assert bits(after.inner) == bits(state.inner)


def test_signals_beside_the_loss_are_handed_on() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard("entropy"))
    state = tx.init(PARAMS)
    _, state = octl.apply_gradients(
        tx, gradients(0), state, PARAMS, value=1.0, entropy=np.nan
    )
    assert octl.read(state).alarms == ("nonfinite_signal",)


@pytest.mark.parametrize("plain", [optax.sgd(0.1), optax.chain(optax.sgd(0.1))])
def test_it_takes_an_optimizer_that_nobody_controls(plain: Any) -> None:
    params, _ = octl.apply_gradients(
        plain, gradients(0), plain.init(PARAMS), PARAMS, value=1.0
    )
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, gradients(0))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), params, expected
    )


def test_control_may_stand_inside_a_chain() -> None:
    tx: Any = optax.chain(optax.scale(2.0), octl.control(optax.sgd(0.1), octl.guard()))
    state = tx.init(PARAMS)
    params, state = octl.apply_gradients(tx, broken(), state, PARAMS, value=1.0)
    assert bits(params) == bits(PARAMS)
    assert octl.read(state).refused == 1
