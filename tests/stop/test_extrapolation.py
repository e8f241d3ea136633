from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import StopReason
from tests.core.reference import improvements
from tests.core.strategies import STEPS, margins, updates
from tests.jitted import jitted

WINDOW = 10
EXPONENTS = (0.125, 0.25, 0.5, 1, 2)


@partial(jitted, static_argnames=("mode", "endless"))
def replayed(
    xs: Any, updates: Any, total: Any, endless: bool = False, **rule: Any
) -> Any:
    end = None if endless else total
    stopper = octl.stop.extrapolation(WINDOW, updates, total_updates=end, **rule)
    return octl.replay(stopper, {"val_loss": xs})


@st.composite
def curves(draw: Any) -> np.ndarray:
    """Draws a power law with noise and broken values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    exponent, end = draw(st.sampled_from([0.3, 0.5, 1.0])), draw(st.floats(-1, 3))
    noise = 10.0 ** draw(st.integers(-4, 0)) * rng.normal(size=STEPS)
    x = end + np.arange(1.0, STEPS + 1) ** -exponent + noise
    hit = rng.random(STEPS) < draw(st.sampled_from([0.0, 0.2]))
    broken = rng.choice([np.nan, np.inf, -np.inf], STEPS)
    return np.where(hit, broken, x).astype(np.float32)


def forecasts(w: Any, t: Any, end: float) -> tuple[list[float], list[float]]:
    """The residual and the value at `end` of each fit, by an orthogonal solver."""
    residuals, values = [], []
    for c in EXPONENTS:
        a = np.stack([np.ones_like(t), (t / t[-1]) ** -c], axis=1)
        fit, *_ = np.linalg.lstsq(a, w, rcond=None)
        residuals.append(np.sum((a @ fit - w) ** 2))
        values.append(fit[0] + fit[1] * (max(end, t[-1]) / t[-1]) ** -c)
    return residuals, values


@pytest.mark.parametrize("mode", ["min", "max"])
@given(
    xs=curves(),
    updates=updates,
    total=st.sampled_from([40, 500]),
    atol=margins,
    rtol=margins,
)
def test_matches_the_reference(
    xs: Any, updates: int, total: int, mode: str, **rule: Any
) -> None:
    """The forecast is of a fit that may be chosen, and hopeless ones are counted."""
    sign = 1 if mode == "min" else -1
    rule["mode"] = mode
    result = replayed(xs, updates, total, **rule)
    beats = [v.to_beat for v in improvements(xs, nonfinite="ignore", **rule)]
    np.testing.assert_allclose(result.gauges["to_beat"], beats, rtol=1e-6)
    kept: list[float] = []
    hopeless = 0
    for i, x in enumerate(xs.astype(np.float64)):
        kept += [x] if np.isfinite(x) else []
        found = float(result.gauges["forecast"][i])
        if len(kept) < WINDOW:
            assert found == -sign * np.inf
            continue
        w, t = np.array(kept[-WINDOW:]), np.arange(len(kept))[-WINDOW:] + 1.0
        residuals, values = forecasts(w, t, total)
        bar = 1.05 * min(residuals)
        first = int(np.argmax(np.array(residuals) <= bar))
        near = [abs(r - bar) < 1e-2 * bar for r in residuals]
        allowed = [v for j, v in enumerate(values) if j == first or near[j]]
        error = 1e-4 * (abs(values[first] - w.mean()) + np.ptp(w)) + 1e-5 * abs(x)
        if np.isfinite(x):
            assert min(abs(found - v) for v in allowed) <= error
            bad = sign * found >= sign * np.float32(result.gauges["to_beat"][i])
            hopeless = hopeless + 1 if bad else 0
        assert result.gauges["patience_left"][i] == max(updates - hopeless, 0)
        stop = StopReason.CANNOT_IMPROVE if hopeless >= updates else 0
        assert result.decisions.stop[i] == stop


def test_story() -> None:
    """A fall of power 1/2 goes on to its limit; a sudden floor is found out."""
    t = np.arange(1.0, 65.0)
    falls = 1 + t**-0.5
    rule = {"mode": "min", "atol": 0.0, "rtol": 0.0}
    going, ended = (
        replayed(xs.astype(np.float32), 5, 0, endless=True, **rule)
        for xs in (falls, np.maximum(falls, 1.2))
    )
    assert not going.decisions.stop.any()
    np.testing.assert_allclose(going.gauges["forecast"][12:], 1, atol=1e-3)
    stops = np.flatnonzero(ended.decisions.stop)
    assert 25 < stops[0] < 25 + WINDOW + 5
    np.testing.assert_array_equal(stops, range(stops[0], 64))


def test_keeps_its_digits_late_in_a_run() -> None:
    """A million values on, where t^-c varies by 1e-6 in the window."""
    stopper = octl.stop.extrapolation(WINDOW)
    last = 10**6
    ages = np.arange(1.0 - WINDOW, 1.0)
    falls = np.expm1(-0.125 * np.log1p(ages / last)).astype(np.float32)
    state = stopper.init()
    state = state._replace(
        seen=jnp.int32(last),
        values=state.values._replace(values=jnp.asarray(falls), seen=jnp.int32(WINDOW)),
    )
    np.testing.assert_allclose(stopper.gauges(state)["forecast"], -1, rtol=1e-3)


def test_values_too_far_apart_promise_everything() -> None:
    losses = np.array([3e38, -3e38] * 20, np.float32)
    rule = {"mode": "min", "atol": 0.0, "rtol": 0.0}
    result = replayed(losses, 1, 0, endless=True, **rule)
    assert not result.decisions.stop.any()
    assert not np.isnan(result.gauges["forecast"]).any()


@pytest.mark.parametrize(
    "wrong", [{"window": 2}, {"updates": 0}, {"total_updates": 0}, {"mode": "low"}]
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    message = rf"`stop.extrapolation\({name}=...\)` must be"
    with pytest.raises(ValueError, match=message):
        octl.stop.extrapolation(**wrong)
