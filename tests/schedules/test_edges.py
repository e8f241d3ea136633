"""Where float32, int32 and XLA's liberties would show."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from tests.schedules import references

S = octl.schedules
LAST = 2**31 - 1
MOST = np.finfo(np.float32).max


@pytest.mark.parametrize("power", [5, 6, 7, 8, 50, 7.5])
@pytest.mark.parametrize("steps", [10, 10**6, LAST])
def test_whole_powers_of_one_step_are_finite(power: float, steps: int) -> None:
    """XLA may take (x/n)^p of a scalar as x^p / n^p, which is inf/inf."""
    falls = S.polynomial(steps, power=power)
    prolonged = S.polynomial(steps, power=power, cycle=True)
    shaped = S.cooldown(S.constant(), 0, steps, shape=lambda done: 1 - done**power)
    for at in (0, 1, steps // 2, steps - 1):
        expected = references.polynomial(at, steps, power)
        assert falls(at) == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert prolonged(at) == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert shaped(at) == pytest.approx(
            1 - (at / steps) ** power, rel=1e-4, abs=1e-6
        )


@pytest.mark.parametrize("first", [2**24 + 1, 100_000_001])
@pytest.mark.parametrize("t_mul", [1.5, 2])
def test_a_restart_past_2_24_is_at_its_step(first: int, t_mul: float) -> None:
    schedule = S.repeat(S.linear(first), first, t_mul=t_mul)
    assert schedule(first - 1) < 0.1
    assert schedule(first) == 1


@pytest.mark.parametrize("total", [100, 2**24 + 2, 10**8, LAST])
@pytest.mark.parametrize("three_phase", [True, False])
def test_one_cycle_ends_at_its_end(total: int, three_phase: bool) -> None:
    how: dict[str, Any] = {"init_value": 0.1, "end_value": 0.5, "pct_start": 0.5}
    schedule = S.one_cycle(total, three_phase=three_phase, **how)
    assert schedule(total - 1) == 0.5
    assert schedule(LAST) == 0.5


def test_the_last_shares_of_a_fall_are_precise() -> None:
    """What is left a few steps before the end, to an ulp of itself."""
    for steps in (10**6, LAST):
        left = np.arange(1, 4)
        at = jnp.asarray(steps - left, jnp.int32)
        root = S.cooldown(S.constant(), 0, steps, shape="sqrt")(at)
        np.testing.assert_allclose(root, left / steps / 2, rtol=1e-5)
        cycle = S.one_cycle(steps, shape="linear", pct_start=0.0, end_value=0.0)(at - 1)
        np.testing.assert_allclose(cycle, left / steps, rtol=1e-5)


def test_stretching_puts_jumps_where_they_belong() -> None:
    rng = np.random.default_rng(0)
    for size, steps, factor in rng.integers(2, 400, (40, 3)).tolist():
        stairs = S.step(size, gamma=0.5)
        longer = S.stretch(stairs, steps, steps * factor)
        jump = size * factor
        assert longer(jump) == 0.5, (size, steps, factor)
        assert longer(jump - 1) == 1, (size, steps, factor)


def test_stretching_can_be_traced() -> None:
    stairs = S.step(30, gamma=0.5)
    longer = jax.jit(lambda old, new, at: S.stretch(stairs, old, new)(at))
    assert longer(90, 270, 90) == 0.5


@pytest.mark.parametrize(
    "schedule",
    [
        S.repeat(S.linear(4, init_value=3.0), 4, m_mul=2.0),
        S.cyclic(4, mode="exp_range", gamma=2.0, base_value=1.0, max_value=3.0),
        S.multiplicative(lambda step: 10.0, 100),
        S.exponential(decay_rate=2.0, init_value=3.0),
        S.step(1, gamma=2.0, init_value=3.0),
    ],
)
def test_growth_ends_at_the_largest_number(schedule: Any) -> None:
    values = np.asarray(schedule(jnp.asarray([*range(500, 520), LAST])))
    assert np.all(np.isfinite(values))
    assert values.max() == MOST


@pytest.mark.parametrize(
    "schedule",
    [
        S.exponential(decay_rate=2.0, init_value=0.0),
        S.step(1, gamma=2.0, init_value=0.0),
        S.multiplicative(lambda step: 10.0, 100, init_value=0.0),
    ],
)
def test_nothing_grows_from_zero(schedule: Any) -> None:
    assert np.all(np.asarray(schedule(jnp.asarray([1, 50, 1000, LAST]))) == 0)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int16])
def test_narrow_traced_counts_do_not_wrap(dtype: Any) -> None:
    counts = jnp.asarray([100, 127], dtype)
    run = jax.vmap(lambda n: S.warmup_stable_decay(n, n, n)(150))
    np.testing.assert_array_equal(run(counts), [1, 1])
    wave = jax.vmap(lambda n: S.cyclic(n)(200))
    expected = [references.cyclic(200, n) for n in (100, 127)]
    np.testing.assert_allclose(wave(counts), expected, atol=1e-6)
    grown = jax.vmap(lambda m: S.cosine_restarts(20, t_mul=m)(59))
    expected = [references.cosine_restarts(59, 20, t_mul=m) for m in (2, 3)]
    np.testing.assert_allclose(grown(jnp.asarray([2, 3], dtype)), expected, atol=1e-6)


def test_a_narrow_table_has_its_last_product() -> None:
    narrow: Any = np.uint8(255)
    halves = S.multiplicative(lambda step: 0.5, narrow)
    assert halves(100) == 0.5**100


def test_the_sum_of_huge_counts_does_not_wrap() -> None:
    assert S.warmup_stable_decay(LAST, LAST, 1)(LAST - 1) > 0.99
    assert S.cyclic(LAST)(LAST - 1) > 0.99


def test_a_traced_fraction_of_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"t_mul=...\)` must be an integer array"):
        jax.jit(lambda m: S.cosine_restarts(10, t_mul=m)(3))(1.5)


def test_no_schedule_is_shown_a_negative_step() -> None:
    least = []

    def seen(step: Any) -> Any:
        jax.debug.callback(lambda step: least.append(np.min(step)), step)
        return jnp.ones_like(step, jnp.float32)

    steps = jnp.arange(-5, 40)
    for schedule in (
        S.join([S.constant(), seen], [20]),
        S.warmup(seen, 20),
        S.cooldown(seen, 10, 5),
        S.repeat(seen, 7),
        S.times(seen, seen),
    ):
        schedule(steps).block_until_ready()
    jax.effects_barrier()
    assert len(least) >= 6
    assert min(least) == 0


def test_nothing_leaves_its_span_by_rounding() -> None:
    rng = np.random.default_rng(0)
    steps = jnp.asarray(rng.integers(2, 400, 60))
    low, high = jnp.sort(jnp.asarray(rng.uniform(0, 1, (2, 60)), jnp.float32), axis=0)
    for kind in (S.linear, S.cosine):
        course = lambda n, a, b, kind=kind: kind(n, init_value=b, end_value=a)(
            jnp.arange(400)
        )
        values = jax.jit(jax.vmap(course))(steps, low, high)
        assert np.all(values.min(1) >= low)
        assert np.all(values.max(1) <= high)


def test_slopes_are_right_where_a_bound_is_touched() -> None:
    slope = jax.grad(lambda a, at: S.linear(10, init_value=a, end_value=0.1)(at))
    assert slope(0.1, 0) == 1
    assert slope(0.1, 10) == 0
    power = lambda a: S.power(0.1, tokens_per_step=1e6, batch_size=8, amplitude=a)
    assert jnp.isfinite(jax.grad(lambda a: power(a)(0))(4.6))
    assert jax.grad(lambda g: S.step(10, gamma=g)(0))(0.0) == 0


def test_what_is_given_may_change_afterwards() -> None:
    stones, parts, values = [30, 80], [S.constant(1.0), S.constant(2.0)], [1.0, 0.5]
    made = [
        S.multistep(stones),
        S.join(parts, stones[:1]),
        S.piecewise(stones[:1], values),
    ]
    before = [float(schedule(3)) for schedule in made]
    stones[0], parts[0], values[0] = 1, S.constant(9.0), 9.0
    assert [float(schedule(jnp.int32(3))) for schedule in made] == before


def test_it_is_called_by_its_name() -> None:
    assert S.cosine(10).__name__ == "cosine"
    assert "schedules.cosine" in repr(S.cosine(10))
