from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import StopReason
from tests.core.strategies import positive_tapes, tapes
from tests.jitted import jitted


@jitted
def replayed(xs: Any, alpha: Any) -> Any:
    return octl.replay(octl.stop.generalization_loss(alpha), {"val_loss": xs})


@given(xs=st.one_of(positive_tapes(), tapes()), alpha=st.sampled_from([0.0, 5.0, 40.0]))
def test_matches_the_reference(xs: Any, alpha: float) -> None:
    """Of signed tapes the positive values count."""
    result = replayed(xs, alpha)
    best, lost = np.inf, 0.0
    for i, x in enumerate(xs.astype(np.float64)):
        if np.isfinite(x) and x > 0:
            best = min(best, x)
            lost = 100 * (x / best - 1)
        gauges = {name: gauge[i] for name, gauge in result.gauges.items()}
        np.testing.assert_allclose(
            gauges["generalization_loss"], lost, rtol=1e-6, atol=1e-6
        )
        np.testing.assert_allclose(gauges["limit"], best * (1 + alpha / 100), rtol=1e-6)
        if lost == alpha == 0 or abs(lost - alpha) > 1e-5 * lost:
            stop = StopReason.GENERALIZATION_LOSS if lost > alpha else 0
            assert result.decisions.stop[i] == stop


def test_story() -> None:
    """The best is 2 from 1 on, exceeded by half at 2 and by more at 4 and 7.

    Nothing is below zero, and a NaN leaves the verdict as it was.
    """
    errors = np.array([4, 2, 3, -9, 3.5, np.nan, 2.5, 3.5, 0, 2], np.float32)
    stop = replayed(errors, 50.0).decisions.stop
    np.testing.assert_array_equal(np.flatnonzero(stop), [4, 5, 7, 8])


@pytest.mark.parametrize("alpha", [-1.0, np.inf, "5"])
def test_arguments_are_checked(alpha: Any) -> None:
    message = r"`stop.generalization_loss\(alpha=...\)` must be"
    with pytest.raises(ValueError, match=message):
        octl.stop.generalization_loss(alpha)
