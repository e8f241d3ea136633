from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import StopReason
from tests.core.strategies import positive_tapes, tapes
from tests.jitted import jitted

errors = st.one_of(positive_tapes(), tapes())


@jitted
def replayed(v: Any, t: Any, alpha: Any, strip: Any, min_progress: Any) -> Any:
    stopper = octl.stop.progress_quotient(alpha, strip, min_progress=min_progress)
    return octl.replay(stopper, {"val_loss": v, "loss": t})


@given(
    v=errors,
    t=errors,
    alpha=st.sampled_from([0.0, 0.05, 1.0]),
    strip=st.integers(2, 9),
    min_progress=st.sampled_from([0.0, 300.0]),
)
def test_matches_the_reference(
    v: Any, t: Any, alpha: float, strip: int, min_progress: float
) -> None:
    """Of signed tapes the updates count in which both are positive."""
    result = replayed(v, t, alpha, strip, min_progress)
    pairs: list[tuple[float, float]] = []
    lost, progress, sure = 0.0, np.inf, True
    for i, pair in enumerate(zip(v.astype(np.float64), t, strict=True)):
        if np.all(np.isfinite(pair)) and min(pair) > 0:
            pairs.append(pair)
            if len(pairs) % strip == 0:
                best = min(p[0] for p in pairs)
                train = np.array([p[1] for p in pairs[-strip:]], np.float64)
                lost = 100 * (pair[0] / best - 1)
                progress = 1000 * (train.sum() / (strip * train.min()) - 1)
                apart = abs(lost - alpha * progress) > 1e-4 * lost
                sure = apart or lost == alpha * progress == 0
                sure &= abs(progress - min_progress) > 1e-4 or not min_progress
        np.testing.assert_allclose(
            result.gauges["generalization_loss"][i], lost, rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            result.gauges["progress"][i], progress, rtol=1e-5, atol=1e-5
        )
        if sure:
            worse = len(pairs) >= strip and lost > alpha * progress
            stop = StopReason.PROGRESS_QUOTIENT if worse else 0
            stop |= StopReason.CONVERGED if progress < min_progress else 0
            assert result.decisions.stop[i] == stop


def test_story() -> None:
    """Strips of two end at 1, 3, 6, where nothing was gained, and 8.

    At 4 validation is broken, so that update is in no strip.
    """
    val_loss = np.array([4, 2, 2, 3, np.nan, 2, 2, 3, 3], np.float32)
    loss = np.array([4, 2, 2, 1, 1, 1, 1, 1, 1], np.float32)
    stop = replayed(val_loss, loss, 0.05, 2, 0.1).decisions.stop
    pq, rest = int(StopReason.PROGRESS_QUOTIENT), int(StopReason.CONVERGED)
    np.testing.assert_array_equal(stop, [0, 0, 0, pq, pq, pq, rest, rest, pq | rest])
    # The first two strips make a progress of 500, which is not less than 500.
    stop = replayed(val_loss, loss, 9.0, 2, 500.0).decisions.stop
    np.testing.assert_array_equal(np.flatnonzero(stop), [6, 7, 8])


@pytest.mark.parametrize("wrong", [{"alpha": -1.0}, {"strip": 1}, {"min_progress": -1}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    message = rf"`stop.progress_quotient\({name}=...\)` must be"
    with pytest.raises(ValueError, match=message):
        octl.stop.progress_quotient(**wrong)
