import math
from collections import Counter
from functools import partial
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import StopReason
from tests.core.strategies import tapes
from tests.jitted import jitted

WINDOW = 8


@partial(jitted, static_argnames="mode")
def replayed(xs: Any, p_value: Any, mode: Any = "min") -> Any:
    stopper = octl.stop.trend(WINDOW, p_value=p_value, mode=mode)
    return octl.replay(stopper, {"val_loss": xs})


def chance(w: list[float]) -> float:
    """The test, one pair and one tie after another."""
    n = len(w)
    s = sum((b > a) - (b < a) for a, b in combinations(w, 2))
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(w).values())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    return NormalDist().cdf((s + 1) / math.sqrt(variance)) if variance else 1.0


@pytest.mark.parametrize("mode", ["min", "max"])
@given(xs=tapes(), p_value=st.sampled_from([0.01, 0.3, 0.5, 0.9]))
def test_matches_the_reference(xs: Any, p_value: float, mode: str) -> None:
    result = replayed(xs, p_value, mode)
    kept: list[float] = []
    for i, x in enumerate(xs if mode == "min" else -xs):
        kept += [float(x)] if np.isfinite(x) else []
        p = chance(kept[-WINDOW:]) if len(kept) >= WINDOW else 0.0
        np.testing.assert_allclose(result.gauges["p_value"][i], p, rtol=2e-5, atol=1e-7)
        if abs(p - p_value) > 1e-5:
            stop = StopReason.NO_TREND if p > p_value else 0
            assert result.decisions.stop[i] == stop


@given(xs=tapes(broken=False))
def test_is_near_the_exact_test(xs: Any) -> None:
    """Of all orders of eight different values, as many fall as clearly."""
    orders = np.ones(1)  # by the number of pairs that fall
    for n in range(2, WINDOW + 1):
        orders = np.convolve(orders, np.ones(n))
    as_clear = orders[::-1].cumsum()[::-1] / math.factorial(WINDOW)
    found = np.asarray(replayed(xs, 0.5).gauges["p_value"])
    for i in range(WINDOW - 1, len(xs)):
        w = xs[i - WINDOW + 1 : i + 1].tolist()
        if len(set(w)) == WINDOW:
            falls = sum(b < a for a, b in combinations(w, 2))
            assert abs(found[i] - as_clear[falls]) < 0.01


def test_story() -> None:
    """It falls until 8 and then stands; a NaN at 13 changes nothing.

    In the last eight values 13 pairs fall at 14 (S = -13, V = 37.3, p = 0.024), 7 at 15
    (V = 21, p = 0.095), and none at 16 (p = 1).
    """
    losses = np.array([*range(8, 0, -1), *[0.0] * 5, np.nan, *[0.0] * 4], np.float32)
    result = replayed(losses, 0.05)
    np.testing.assert_array_equal(np.flatnonzero(result.decisions.stop), [15, 16, 17])


@pytest.mark.parametrize("wrong", [{"window": 3}, {"window": 1001}, {"p_value": 1.0}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`stop.trend\({name}=...\)` must be"):
        octl.stop.trend(**wrong)
