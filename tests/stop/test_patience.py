import itertools
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given

import optaxctl as octl
from optaxctl import StopReason
from tests.core.reference import improvements
from tests.core.strategies import margins, tapes, updates

RULES = list(itertools.product(("min", "max"), ("count", "ignore")))


@partial(jax.jit, static_argnames=("mode", "nonfinite"))
def replayed(xs: Any, updates: Any, **rule: Any) -> Any:
    return octl.replay(octl.stop.patience(updates, **rule), {"val_loss": xs})


@pytest.mark.parametrize(("mode", "nonfinite"), RULES)
@given(xs=tapes(), updates=updates, atol=margins, rtol=margins)
def test_matches_the_reference(
    xs: Any, updates: int, mode: str, nonfinite: str, atol: float, rtol: float
) -> None:
    rule: Any = {"mode": mode, "atol": atol, "rtol": rtol, "nonfinite": nonfinite}
    result = replayed(xs, updates, **rule)
    expected = list(improvements(xs, **rule))
    stale = np.array([v.stale for v in expected])
    stop = np.where(stale >= updates, StopReason.PATIENCE, 0)
    np.testing.assert_array_equal(result.decisions.stop, stop)
    left = np.maximum(updates - stale, 0)
    np.testing.assert_array_equal(result.gauges["patience_left"], left)
    bar = [v.to_beat for v in expected]
    np.testing.assert_allclose(result.gauges["to_beat"], bar, rtol=1e-6)


def test_story() -> None:
    """It falls until 2, is broken at 3, ties at 4, and improves again at 7."""
    losses = np.array([3, 2, 1, np.nan, 1, 1.5, np.inf, 0.5, 1, 1, 1], np.float32)
    c = octl.stop.patience(3)
    result = octl.replay(c, {"val_loss": losses})
    np.testing.assert_array_equal(np.flatnonzero(result.decisions.stop), [5, 6, 10])
    left = [3, 3, 3, 2, 1, 0, 0, 3, 2, 1, 0]
    np.testing.assert_array_equal(result.gauges["patience_left"], left)


@pytest.mark.parametrize(("nonfinite", "stops"), [("count", [2, 3]), ("ignore", [])])
def test_a_run_of_nan_alone_ends_by_count_only(nonfinite: Any, stops: Any) -> None:
    c = octl.stop.patience(3, nonfinite=nonfinite)
    decisions = octl.replay(c, {"val_loss": np.full(4, np.nan)}).decisions
    np.testing.assert_array_equal(np.flatnonzero(decisions.stop), stops)


def test_a_value_that_is_not_finite_stops_at_once_if_asked() -> None:
    losses = np.array([np.nan, 1, 1, np.inf, 1, 0.5], np.float32)
    decided = octl.replay(octl.stop.patience(3, nonfinite="stop"), {"val_loss": losses})
    nonfinite, patience = StopReason.NONFINITE, StopReason.PATIENCE
    assert decided.decisions.stop.tolist() == [nonfinite, 0, 0, nonfinite, patience, 0]


@pytest.mark.parametrize("updates", [0, -1, 1.5])
def test_arguments_are_checked(updates: Any) -> None:
    with pytest.raises(ValueError, match=r"`stop.patience\(updates=...\)` must be"):
        octl.stop.patience(updates)


def test_a_gain_short_of_the_baseline_counts_but_does_not_stop() -> None:
    """Keras' rule: 4, 3 and 2 gain and do not beat 1; 2.5 does not even gain."""
    decided = octl.replay(
        octl.stop.patience(2, baseline=1.0),
        {"val_loss": np.array([4, 3, 2, 2.5, 0.5, 0.6], np.float32)},
    )
    assert decided.decisions.stop.tolist() == [0, 0, 0, StopReason.PATIENCE, 0, 0]
    assert decided.gauges["patience_left"].tolist() == [1, 0, 0, 0, 2, 1]
    assert decided.gauges["to_beat"].tolist() == [1, 1, 1, 1, 0.5, 0.5]
