"""Schedules together, as runs need them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.schedules import references

S = octl.schedules
LAST = 2**31 - 1


def test_a_longer_second_run_does_not_break_a_one_cycle() -> None:
    cycle = {
        "learning_rate": S.one_cycle(101, peak_value=0.1),
        "b1": S.one_cycle(101, init_value=0.95, peak_value=0.85, end_value=0.95),
    }
    longer = S.stretch(cycle, 100, 250)
    assert longer.keys() == cycle.keys()
    for name, schedule in cycle.items():
        twice = longer[name](jnp.arange(0, 251, 5))
        np.testing.assert_allclose(twice, schedule(jnp.arange(0, 101, 2)), atol=1e-6)
        assert longer[name](1000) == schedule(100)


def test_a_dict_of_schedules_is_repeated_together() -> None:
    once = {"learning_rate": S.linear(10), "weight_decay": S.cosine(10)}
    for name, schedule in S.repeat(once, 10, cycles=2).items():
        steps = jnp.arange(10)
        np.testing.assert_array_equal(schedule(steps + 10), once[name](steps))
        assert schedule(20) == once[name](10)


def test_a_plateau_multiplies_a_schedule() -> None:
    warm = S.warmup(S.cosine(90), 10)
    rate = octl.together(
        schedule=octl.lr.follow(warm), plateau=octl.lr.plateau(2, factor=0.5)
    )
    tx = octl.control(
        octl.inject(optax.sgd, learning_rate=0.1), rate, observed=("val_loss",)
    )
    params, state = jnp.ones(2), tx.init(jnp.ones(2))
    updates: Any = None
    for step in range(20):
        state = octl.observe(state, val_loss=1.0 if step < 10 else 2.0)
        updates, state = tx.update(jnp.ones(2), state, params, value=1.0)
    halvings = np.log2(0.1 * float(warm(19)) / -float(updates[0]))
    assert round(halvings) >= 1
    assert abs(halvings - round(halvings)) < 1e-4


@pytest.mark.parametrize("t_mul", [1, 2, 3, 10])
def test_restarts_begin_where_integers_say(t_mul: int) -> None:
    """torch's logarithm of floats misses the restarts at 121 T_0 and at 111 T_0."""
    for first in (1, 2, 3, 7, 20):
        schedule = S.cosine_restarts(first, t_mul=t_mul)
        begin, length, begins = 0, first, []
        while begin <= 2**24 and len(begins) < 40:
            begins.append(begin)
            begin, length = begin + length, length * t_mul
        np.testing.assert_array_equal(schedule(jnp.asarray(begins, jnp.int32)), 1)
        if first > 1:
            before = schedule(jnp.asarray(begins[1:], jnp.int32) - 1)
            assert np.all(np.asarray(before) < 1)


@pytest.mark.parametrize("t_mul", [1.25, 1.5, 2.5])
def test_cycles_of_fractional_length_begin_between_steps(t_mul: float) -> None:
    steps = [*range(300), 2**24 - 1, 2**24 + 1, 2**30, LAST - 1, LAST]
    expected = [references.cosine_restarts(t, 7, t_mul=t_mul) for t in steps]
    actual = S.cosine_restarts(7, t_mul=t_mul)(jnp.asarray(steps, jnp.int32))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("t_mul", [1, 2, 3])
def test_restarts_at_the_end_of_int32(t_mul: int) -> None:
    steps = [2**24 + 1, 2**30, LAST - 1, LAST]
    expected = [references.cosine_restarts(t, 3, t_mul=t_mul) for t in steps]
    alone = S.cosine_restarts(3, t_mul=t_mul)(jnp.asarray(steps, jnp.int32))
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-6)
    traced = jax.jit(lambda m, t: S.cosine_restarts(3, t_mul=m)(t))
    both = traced(jnp.int32(t_mul), jnp.asarray(steps, jnp.int32))
    np.testing.assert_allclose(both, expected, rtol=0, atol=1e-6)


def test_fractions_of_a_step_are_torchs_fractional_epochs() -> None:
    steps = np.arange(0, 40, 0.125)
    expected = [references.cosine_restarts(t, 4, t_mul=3) for t in steps]
    actual = S.cosine_restarts(4, t_mul=3)(jnp.asarray(steps))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [0.99999, 0.999999])
def test_a_million_steps_of_decay_are_exact(rate: float) -> None:
    """In float32 0.99999 is 3e-8 off, which is 3 % after a million steps."""
    for steps in (10**5, 10**6, 2 * 10**6):
        value = float(S.exponential(decay_rate=rate)(steps))
        assert value == pytest.approx(rate**steps, rel=3e-6)


@pytest.mark.parametrize(
    "schedule",
    [S.exponential(decay_rate=2.0), S.step(1, gamma=10.0, init_value=-1.0)],
)
def test_growth_ends_at_the_largest_number(schedule: Any) -> None:
    values = np.asarray(schedule(jnp.asarray([1000, LAST])))
    assert np.all(np.abs(values) == np.finfo(np.float32).max)


def test_the_sum_of_phases_is_a_run() -> None:
    run = S.Units(batch_size=64, total_steps=1000)
    schedule = S.join(
        [
            S.warmup(S.constant(0.1), run.fraction(0.1)),
            S.cosine(run.fraction(0.5), init_value=0.1),
        ],
        [run.fraction(0.5)],
    )
    values = np.asarray(schedule(jnp.asarray([0, 50, 100, 499, 500, 750, 1000, 2000])))
    expected = [0, 0.05, 0.1, 0.1, 0.1, 0.05, 0, 0]
    np.testing.assert_allclose(values, expected, atol=1e-7)


def test_unsigned_and_long_steps_do_not_wrap() -> None:
    schedule = S.linear(100)
    assert schedule(np.uint32(2**32 - 1)) == 0
    with jax.enable_x64(True):
        value = schedule(jnp.int64(2**40))
        assert (value.dtype, float(value)) == (jnp.float32, 0)
