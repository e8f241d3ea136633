"""`smooth`: a bias-corrected running mean in place of a signal."""

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from tests.core.strategies import tapes


def echo() -> octl.Controller:
    return octl.Controller(
        init=lambda: (),
        update=lambda signals, state: (octl.decide(lr_scale=signals["x"]), state),
        signals=frozenset({"x"}),
        gauges=lambda state: {},
    )


@jax.jit
def smoothed(xs: Any, decay: Any) -> Any:
    c = octl.smooth(echo(), monitor="x", decay=decay)
    return octl.replay(c, {"x": xs}).decisions.lr_scale


@given(xs=tapes(), decay=st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_is_the_weighted_mean_of_the_finite_values(
    xs: np.ndarray, decay: float
) -> None:
    seen: list[float] = []
    expected = []
    for x in xs.astype(np.float64):
        if np.isfinite(x):
            seen.append(x)
            weights = decay ** np.arange(len(seen))[::-1]
            expected.append(np.average(seen, weights=weights))
        else:
            expected.append(x)
    largest = np.max(np.abs(seen), initial=0)
    np.testing.assert_allclose(smoothed(xs, decay), expected, 1e-5, 1e-5 * largest)


def test_noise_does_not_reset_a_patience() -> None:
    """The signal worsens; one lucky value at 6 improves it, and not its mean."""
    losses = np.array([4, 5, 5, 5, 5, 5, 3.9, 5, 5], np.float32)
    plain = octl.stop.patience(6, monitor="loss")
    calm = octl.smooth(plain, monitor="loss", decay=0.9)
    stops = [octl.replay(c, {"loss": losses}).decisions.stop for c in (plain, calm)]
    assert not np.any(stops[0])
    np.testing.assert_array_equal(np.flatnonzero(stops[1]), [6, 7, 8])


def test_other_signals_pass_through() -> None:
    c = octl.smooth(octl.watch.nonfinite("x", "y"), monitor="x")
    decision, _ = c.update({"x": 1.0, "y": np.nan}, c.init())
    assert decision.alarm == octl.Alarm.NONFINITE_SIGNAL


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"`smooth\(decay=...\)` must be > 0 and < 1"):
        octl.smooth(echo(), monitor="x", decay=1.0)
    with pytest.raises(
        ValueError, match=r"`smooth\(monitor=...\)` must be 'x', got 'y'"
    ):
        octl.smooth(echo(), monitor="y")
