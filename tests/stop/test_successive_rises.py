from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import StopReason
from tests.core.strategies import tapes, updates
from tests.jitted import jitted


@partial(jitted, static_argnames="mode")
def replayed(xs: Any, strips: Any, strip: Any, mode: Any) -> Any:
    stopper = octl.stop.successive_rises(strips, strip, mode=mode)
    return octl.replay(stopper, {"val_loss": xs})


@pytest.mark.parametrize("mode", ["min", "max"])
@given(xs=tapes(), strips=updates, strip=st.integers(1, 9))
def test_matches_the_reference(xs: Any, strips: int, strip: int, mode: str) -> None:
    """UP_s as Prechelt has it: UP_(s-1) a strip ago, and a rise since."""
    result = replayed(xs, strips, strip, mode)
    sign = 1 if mode == "min" else -1
    kept: list[float] = []
    rises = 0
    for i, x in enumerate(sign * xs):
        if np.isfinite(x):
            kept.append(x)
            if len(kept) % strip == 0:
                ends = kept[strip - 1 :: strip]
                pairs = zip(ends[-2::-1], ends[::-1], strict=False)
                falls = [not after > before for before, after in pairs]
                rises = [*falls, True].index(True)
        assert result.gauges["patience_left"][i] == max(strips - rises, 0)
        stop = StopReason.SUCCESSIVE_RISES if rises >= strips else 0
        assert result.decisions.stop[i] == stop


def test_story() -> None:
    """Strips of two end at 1, 4 (a NaN is in none), 6 and 8, where it falls."""
    errors = np.array([9, 1, np.nan, 0, 2, 9, 3, 9, 3], np.float32)
    stop = replayed(errors, 2, 2, "min").decisions.stop
    np.testing.assert_array_equal(np.flatnonzero(stop), [6, 7])


@pytest.mark.parametrize("wrong", [{"strips": 0}, {"strip": 0}, {"mode": "low"}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    message = rf"`stop.successive_rises\({name}=...\)` must be"
    with pytest.raises(ValueError, match=message):
        octl.stop.successive_rises(**wrong)
