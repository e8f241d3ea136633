"""`guard` and `supervise`: what a run that is left alone may count on."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, bits, broken, gradients, stepper


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["loss", "grad_norm", "entropy"])
def test_guard_refuses_what_is_not_finite(name: str, bad: float) -> None:
    guard = octl.guard("loss", "grad_norm", "entropy")
    healthy = {"loss": 1.0, "grad_norm": 1.0, "entropy": 1.0}
    refused, _ = guard.update(healthy | {name: bad}, guard.init())
    accepted, _ = guard.update(healthy, guard.init())
    assert bool(refused.skip)
    assert not bool(accepted.skip)


def test_guard_reads_the_loss_and_the_gradient_unless_told() -> None:
    assert octl.guard().signals == {"loss", "grad_norm"}
    assert octl.guard("grad_norm").signals == {"grad_norm"}


@functools.cache
def healthy_run(steps: int) -> tuple[Any, Any, Any]:
    """Returns the step of a supervised run, and where it is after `steps` of them."""
    tx = octl.supervise(optax.adam(0.01))

    def body(carry: Any, index: Any) -> tuple[Any, None]:
        params, state = carry
        loss = 3 / (1 + index / 30) + 0.1 * jnp.sin(7.0 * index)
        updates, state = tx.update(gradients(index), state, params, value=loss)
        return (optax.apply_updates(params, updates), state), None

    run = jax.jit(lambda c: jax.lax.scan(body, c, jnp.arange(steps))[0])
    return stepper(tx), *run((PARAMS, tx.init(PARAMS)))


def test_supervise_lets_a_healthy_run_alone() -> None:
    _, _, state = healthy_run(300)
    seen = octl.read(state)
    assert (seen.refused, seen.stop, seen.lr_scale) == (0, (), 1)
    assert seen.alarms_so_far == ()
    assert seen.clipped < 0.05 * 300


@pytest.mark.parametrize(
    ("grads", "loss", "alarm"),
    [
        (gradients(0), np.nan, "nonfinite_loss"),
        (broken(np.inf), 1.0, "gradient_exploded"),
        (gradients(0), 1e4, "loss_spike"),
        (broken(1e4), 1.0, "gradient_spike"),
    ],
)
def test_supervise_refuses_a_broken_step_and_goes_on(
    grads: Any, loss: float, alarm: str
) -> None:
    step, params, state = healthy_run(50)
    after, refused = step(grads, state, params, value=loss)
    assert bits(after) == bits(params)
    assert bits(refused.inner) == bits(state.inner)
    assert alarm in octl.read(refused).alarms
    _, state = step(gradients(1), refused, after, value=1.0)
    assert octl.read(state).accepted == 51
    assert octl.read(state).alarms == ()


def test_supervise_asks_to_stop_a_run_that_stays_broken() -> None:
    tx: Any = octl.supervise(optax.sgd(0.1), give_up_updates=5)
    step, params, state, stops = stepper(tx), PARAMS, tx.init(PARAMS), []
    for loss in (np.nan, np.nan, 1.0, *[np.nan] * 6):
        params, state = step(gradients(0), state, params, value=loss)
        stops.append(octl.read(state).stop)
    assert stops == [()] * 7 + [("nonfinite",)] * 2


def test_supervise_works_from_the_first_step_on() -> None:
    tx: Any = octl.supervise(octl.inject(optax.adamw, learning_rate=0.1))
    state = tx.init(PARAMS)
    params, refused = stepper(tx)(broken(), state, PARAMS, value=np.nan)
    assert bits(params) == bits(PARAMS)
    assert bits(refused.inner) == bits(state.inner)
    assert octl.read(refused).learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("loss", "grads"),
    [
        (-3.0, gradients(0)),
        (0.0, gradients(0)),
        (1.0, jax.tree.map(jnp.zeros_like, PARAMS)),
    ],
    ids=["negative loss", "no loss", "no gradient"],
)
def test_supervise_accepts_what_it_cannot_watch(loss: float, grads: Any) -> None:
    tx = octl.supervise(optax.sgd(0.1))
    step, state = stepper(tx), tx.init(PARAMS)
    for _ in range(5):
        _, state = step(grads, state, PARAMS, value=loss)
    reading = octl.read(state)
    assert (reading.accepted, reading.refused, reading.stop) == (5, 0, ())
    assert "out_of_domain" in reading.alarms


def test_supervise_goes_back_after_three_bad_steps() -> None:
    tx = octl.supervise(optax.adam(1e-3), snapshots=octl.Snapshots(every=5))
    state = tx.init(PARAMS)
    step = jax.jit(lambda s, g, x: octl.apply_gradients(tx, g, s, PARAMS, value=x)[1])
    rewinds = []
    for i in range(40):
        state = step(state, gradients(i), 1.0 + 0.01 * (i % 3) + 1e3 * (i >= 30))
        rewinds.append(octl.read(state).rewinds)
    assert rewinds.index(1) == 32
    assert rewinds[-1] == 1


def test_supervise_runs_what_else_it_is_given() -> None:
    rate = octl.lr.plateau(1, factor=0.5, monitor="loss")
    tx = octl.supervise(optax.sgd(0.1), rate)
    state = tx.init(PARAMS)
    for _ in range(2):
        _, state = tx.update(gradients(0), state, PARAMS, value=1.0)
    assert octl.read(state).lr_scale == 0.5
