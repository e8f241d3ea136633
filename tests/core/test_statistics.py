from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from optaxctl._core.statistics import Statistic, moments, quantile, ring, slope
from tests.core.strategies import tapes

SIZE = 7


def estimates(statistic: Statistic) -> Callable[[Any], Any]:
    def body(state: Any, x: Any) -> Any:
        estimate, state = statistic.update(x, state)
        return state, (estimate, state)

    scan = jax.jit(lambda xs: jax.lax.scan(body, statistic.init(), xs)[1])
    return lambda xs: jax.tree.map(np.asarray, scan(xs))


def prior_var(x: Any) -> Any:
    return jnp.full_like(x, 4.0)


def no_floor(mean: Any) -> Any:
    return jnp.zeros_like(mean)


SLOW = estimates(
    moments(
        0.999,
        prior_var=prior_var,
        floor=no_floor,
        prior_weight=10.0,
        winsor=float("inf"),
    )
)
FAST = estimates(moments(0.5, prior_var=prior_var, floor=no_floor))
RELATIVE = estimates(
    moments(0.9, prior_var=lambda x: 0.05 * x * x, floor=lambda m: 0.01 * jnp.abs(m))
)
RING = estimates(ring(SIZE))
SLOPE = estimates(slope(SIZE))
QUANTILE = estimates(quantile(0.9))


@given(seed=st.integers(0, 2**32 - 1), offset=st.floats(-3, 3))
def test_moments_are_those_of_prior_and_data(seed: int, offset: float) -> None:
    xs = np.random.default_rng(seed).normal(offset, 2.0, 50).astype(np.float32)
    estimate, _ = SLOW(xs)
    # The prior and the first value weigh ten values together.
    for t in range(1, xs.size):
        data, m = xs[:t].astype(np.float64), 0.0
        m = (9 * data[0] + data.sum()) / (9 + t)
        spread = 9 * (4.0 + (data[0] - m) ** 2) + np.sum((data - m) ** 2)
        np.testing.assert_allclose(estimate.mean[t], m, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(estimate.std[t] ** 2, spread / (9 + t), rtol=1e-4)


def test_an_outlier_enters_the_moments_cut() -> None:
    xs = np.array([1.0, 1.0, 3e38, 1.0], np.float32)
    estimate, _ = FAST(xs)
    before, after = estimate.std[2], estimate.mean[3]
    np.testing.assert_allclose(after, 1 + 0.5 * 6 * before, rtol=1e-6)


def test_a_lasting_change_of_level_is_followed() -> None:
    estimate, _ = FAST(np.array([0.0] * 20 + [1e4] * 100, np.float32))
    np.testing.assert_allclose(estimate.mean[-1], 1e4, rtol=1e-3)


@pytest.mark.parametrize(("constant", "length"), [(0.0, 5000), (1.0, 700)])
def test_a_change_after_a_long_constant_is_followed(
    constant: float, length: int
) -> None:
    """At once where there is no scale, by the floor where the variance is tiny."""
    xs = np.array([constant] * length + [2.0] * 41, np.float32)
    estimate, _ = RELATIVE(xs)
    np.testing.assert_allclose(estimate.mean[-1], 2.0, rtol=0.05)


@given(xs=tapes())
def test_ring_holds_the_last_finite_values(xs: np.ndarray) -> None:
    window, _ = RING(xs)
    for t in range(xs.size):
        past = xs[:t][np.isfinite(xs[:t])][-SIZE:]
        np.testing.assert_array_equal(window.values[t][window.valid[t]], past)
        assert list(window.valid[t]) == sorted(window.valid[t])


def test_ring_stays_right_after_its_count_has_wrapped() -> None:
    xs = np.arange(10 * SIZE, dtype=np.float32)
    window, state = RING(xs)
    np.testing.assert_array_equal(window.values[-1], xs[-1 - SIZE : -1])
    assert np.max(state.seen) < 2 * SIZE


@given(xs=tapes())
def test_slope_is_the_least_squares_slope(xs: np.ndarray) -> None:
    slopes, _ = SLOPE(xs)
    for t in range(xs.size):
        past = xs[:t][np.isfinite(xs[:t])][-SIZE:].astype(np.float64)
        n = past.size
        expected = np.polyfit(np.arange(n), past, 1)[0] if n > 1 else 0.0
        # Cancellation: an ulp of the values, not of the slope.
        ulp = float(np.spacing(np.float32(np.max(np.abs(past), initial=0.0))))
        np.testing.assert_allclose(slopes[t], expected, rtol=1e-5, atol=4 * ulp)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_quantile_converges(q: float) -> None:
    xs = np.random.default_rng(0).normal(3.0, 1.0, 6000).astype(np.float32)
    levels, _ = estimates(quantile(q, step=0.02))(xs)
    np.testing.assert_allclose(
        np.mean(xs <= np.mean(levels[3000:])), q, atol=0.02, rtol=0
    )


@given(xs=tapes())
def test_quantile_moves_by_the_pinball_gradient(xs: np.ndarray) -> None:
    levels, state = QUANTILE(xs)
    level = None
    for t, x in enumerate(xs):
        if level is not None:
            np.testing.assert_array_equal(levels[t], level)
        if np.isfinite(x):
            up, down = np.float32(0.05 * 0.9), np.float32(0.05 * (1 - 0.9))
            level = x if level is None else level + up if x > level else level - down
        if level is not None:
            np.testing.assert_array_equal(state.level[t], level)


@pytest.mark.parametrize("run", [SLOW, FAST, RING, SLOPE, QUANTILE])
@given(xs=tapes())
def test_a_nonfinite_value_leaves_every_state_as_it_is(run: Any, xs: Any) -> None:
    _, states = run(np.append(np.float32(1), xs))
    for leaf in jax.tree.leaves(states):
        before, after = np.asarray(leaf)[:-1], np.asarray(leaf)[1:]
        broken = ~np.isfinite(xs)
        assert before[broken].tobytes() == after[broken].tobytes()


@given(xs=tapes(), scale=st.sampled_from([1e30, 3e38]))
def test_finite_values_never_break_the_moments(xs: np.ndarray, scale: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        huge = np.clip(xs * np.float32(scale), -3e38, 3e38).astype(np.float32)
    _, states = RELATIVE(huge)
    for leaf in jax.tree.leaves(states):
        assert np.all(np.isfinite(leaf))
