"""`observe` hands over what was measured elsewhere: once, and to whom it concerns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, gradients, scripted, stepper

VAL = ("val_loss",)


def run(tx: Any, script: list[dict[str, float] | None]) -> list[octl.Reading]:
    """Observes what the script says before each step, and reads after it."""
    step, params, state, seen = stepper(tx), PARAMS, tx.init(PARAMS), []
    for values in script:
        if values is not None:
            state = octl.observe(state, **values)
        params, state = step(gradients(0), state, params)
        seen.append(octl.read(state))
    return seen


def test_an_evaluation_counts_once_however_many_steps_follow() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.stop.patience(2), observed=VAL)
    script = [{"val_loss": 1.0}, *[None] * 9, {"val_loss": 1.0}, *[None] * 9]
    left = [seen.gauges["patience_left"] for seen in run(tx, script)]
    assert left == [2] * 10 + [1] * 10


def test_nothing_happens_before_the_first_evaluation() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.stop.patience(1), observed=VAL)
    readings = run(tx, [None] * 5)
    assert {seen.stop for seen in readings} == {()}
    assert readings[-1].signals.keys() == {"grad_norm"}


def test_a_second_value_before_the_step_replaces_the_first() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.stop.patience(1), observed=VAL)
    state = octl.observe(tx.init(PARAMS), val_loss=9.0)
    state = octl.observe(state, val_loss=3.0)
    _, state = stepper(tx)(gradients(0), state, PARAMS)
    assert octl.read(state).gauges["to_beat"] == 3
    assert octl.read(state).signals["val_loss"] == 3


def test_levels_are_held_and_events_are_not_repeated() -> None:
    rules = scripted(lr_scale="x", clip_norm="x", skip="x", rewind="x", alarm="x")
    tx: Any = octl.control(optax.sgd(0.1), rules, observed=("x",))
    script = [None, {"x": 2.0}, None, None, {"x": 0.0}, None]
    readings = run(tx, script)
    assert [seen.lr_scale for seen in readings] == [1, 2, 2, 2, 0, 0]
    assert [seen.clip_norm for seen in readings] == [np.inf, 2, 2, 2, 0, 0]
    assert [seen.skipped for seen in readings] == [0, 1, 0, 0, 0, 0]
    assert [seen.rewinds for seen in readings] == [0, 1, 1, 1, 1, 1]
    up = ("nonfinite_gradient",)
    assert [seen.alarms for seen in readings] == [(), up, up, up, (), ()]


def test_each_part_waits_for_its_own_signal() -> None:
    tx: Any = octl.control(
        optax.sgd(0.1),
        octl.together(
            a=octl.stop.patience(9, monitor="a"),
            b=octl.stop.patience(9, monitor="b"),
            norm=octl.clip.zscore(warmup_updates=1),
        ),
        observed=("a", "b"),
    )
    script = [{"a": 1.0, "b": 1.0}, {"a": 1.0}, {"a": 1.0}, {"b": 1.0}, None]
    gauges = [seen.gauges for seen in run(tx, script)]
    assert [g["a/patience_left"] for g in gauges] == [9, 8, 7, 7, 7]
    assert [g["b/patience_left"] for g in gauges] == [9, 9, 9, 8, 8]
    assert gauges[-1]["norm/norm_mean"] > 0  # and a step signal drives its part


def test_nan_is_a_measurement() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.stop.patience(3), observed=VAL)
    readings = run(tx, [{"val_loss": 1.0}, {"val_loss": np.nan}, None])
    assert [seen.gauges["patience_left"] for seen in readings] == [3, 2, 2]


def test_every_control_state_that_has_declared_the_name_gets_the_value() -> None:
    stop = octl.stop.patience(5)
    tx: Any = optax.chain(
        octl.control(optax.identity(), stop, observed=VAL),
        octl.control(optax.sgd(0.1), octl.guard()),
        octl.control(optax.identity(), stop, observed=("val_loss", "other")),
    )
    carried = {"opt": tx.init(PARAMS), "epoch": 3}
    carried = octl.observe(carried, val_loss=4.0)
    assert carried["epoch"] == 3
    groups = octl.read(carried).groups
    assert [g.signals.get("val_loss") for g in groups] == [4.0, None, 4.0]


def test_it_works_inside_jit_and_traces_no_second_step() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.stop.patience(2), observed=VAL)
    traces = 0

    @jax.jit
    def step(state: Any) -> Any:
        nonlocal traces
        traces += 1
        return tx.update(gradients(0), state, PARAMS)[1]

    state = tx.init(PARAMS)
    for loss in (1.0, np.float64(2.0), jnp.float32(3.0)):
        state = step(jax.jit(octl.observe)(state, val_loss=loss))
        state = step(state)
    assert traces == 1
    assert octl.read(state).stop == ("patience",)


def test_vmapped_states_take_one_value_each() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.stop.patience(2), observed=VAL)
    states = jax.jit(jax.vmap(lambda _: tx.init(PARAMS)))(jnp.arange(3))
    states = octl.observe(states, val_loss=jnp.array([1.0, 2.0, 3.0]))
    step = jax.jit(jax.vmap(lambda s: tx.update(gradients(0), s, PARAMS)[1]))
    states = step(states)
    np.testing.assert_array_equal(octl.read(states).gauges["to_beat"], [1, 2, 3])


def test_set_lr_reaches_every_state_that_owns_a_rate() -> None:
    injected = octl.inject(optax.sgd, learning_rate=0.1)
    tx: Any = optax.chain(
        octl.control(injected, octl.guard()), octl.control(optax.sgd(1.0), octl.guard())
    )
    state = octl.set_lr(tx.init(PARAMS), 0.5)
    assert [g.learning_rate for g in octl.read(state).groups] == [0.5, None]
    state = octl.set_lr_scale(state, 0.5)
    assert [g.learning_rate for g in octl.read(state).groups] == [0.25, None]


@pytest.mark.parametrize("rates", [0.5, jnp.array([0.1, 0.2, 0.3])])
def test_set_lr_sets_vmapped_rates(rates: Any) -> None:
    tx: Any = octl.control(octl.inject(optax.sgd, learning_rate=1.0), octl.guard())
    states = jax.jit(jax.vmap(lambda _: tx.init(PARAMS)))(jnp.arange(3))
    for setter in (octl.set_lr, octl.set_lr_scale):  # of a rate of 1
        seen: Any = octl.read(setter(states, rates)).learning_rate
        np.testing.assert_allclose(seen, np.broadcast_to(rates, 3))
