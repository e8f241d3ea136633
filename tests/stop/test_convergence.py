from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import optaxctl as octl
from optaxctl import StopReason
from tests.core.strategies import margins, tapes
from tests.jitted import jitted

WINDOW = 4


@jitted
def replayed(xs: Any, atol: Any, rtol: Any) -> Any:
    stopper = octl.stop.convergence(WINDOW, atol=atol, rtol=rtol)
    return octl.replay(stopper, {"val_loss": xs})


@given(xs=tapes(), atol=margins, rtol=margins)
def test_matches_the_reference(xs: Any, atol: float, rtol: float) -> None:
    result = replayed(xs, atol, rtol)
    kept: list[np.float32] = []
    range_, tolerance = np.inf, 0.0
    for i, x in enumerate(xs):
        kept += [x] if np.isfinite(x) else []
        last = kept[-WINDOW:]
        if len(last) == WINDOW:
            range_ = max(last) - min(last)
            tolerance = atol + rtol * abs(np.mean(last, dtype=np.float64))
        ulps = 1e-6 * float(np.abs(last).max(initial=0))
        np.testing.assert_array_equal(result.gauges["range"][i], range_)
        np.testing.assert_allclose(
            result.gauges["tolerance"][i], tolerance, rtol=1e-6, atol=ulps
        )
        tie = not rtol and range_ == tolerance  # of numbers that are not rounded
        if tie or abs(range_ - tolerance) > ulps:
            stop = StopReason.CONVERGED if range_ <= tolerance else 0
            assert result.decisions.stop[i] == stop


def test_story() -> None:
    """Equal from 2 to 5, a NaN at 6 changes nothing; another value at 8 ends it."""
    losses = np.array([3, 2, 1, 1, 1, 1, np.nan, 1, 2, 1], np.float32)
    stop = replayed(losses, 0.0, 0.0).decisions.stop
    np.testing.assert_array_equal(np.flatnonzero(stop), [5, 6, 7])


def test_huge_values_are_far_apart() -> None:
    losses = np.array([3e38, 3e38, 3e38, -3e38] * 2, np.float32)
    result = replayed(losses, 1e38, 1e3)
    assert not result.decisions.stop.any()
    assert np.isinf(result.gauges["range"]).all()


@pytest.mark.parametrize("wrong", [{"window": 1}, {"atol": -1.0}, {"rtol": np.inf}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`stop.convergence\({name}=...\)` must be"):
        partial(octl.stop.convergence, **wrong)()
