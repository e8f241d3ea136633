from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from tests.core.strategies import positive_tapes


@partial(jax.jit, static_argnames="window")
def replayed(norms: Any, **arguments: Any) -> Any:
    return octl.replay(octl.clip.band(**arguments), {"grad_norm": norms})


def thresholds(
    norms: Any, initial: float, floor: float, ceil: float, factor: float, updates: int,
    window: int, clip_rate: float, slack: float, max_adjustments: int,
) -> Any:  # fmt: skip
    kept: list[float] = []
    made, since, threshold = 0, 0, initial
    rate = 0.0
    for n in norms.astype(np.float64):
        if np.isfinite(n):
            kept, since = [*kept, n][-window:], since + 1
            rate = np.mean(np.array(kept) > threshold)
            wish = threshold
            if rate > clip_rate:
                wish = min(threshold * factor, ceil)
            elif np.mean(kept) < slack * threshold:
                wish = max(threshold / factor, floor)
            if since >= updates and made < max_adjustments and wish != threshold:
                threshold, since, made = wish, 0, made + 1
            rate = np.mean(np.array(kept) > threshold)
        yield threshold, rate, made


@pytest.mark.parametrize("window", [1, 20])
@given(
    norms=positive_tapes(),
    initial=st.sampled_from([1.0, 2.0]),
    factor=st.sampled_from([2.0, 4.0]),  # powers of two leave no doubt of a bound
    updates=st.integers(1, 10),
    clip_rate=st.sampled_from([0.0, 0.12, 0.52]),
    slack=st.sampled_from([0.2, 0.7]),
    max_adjustments=st.sampled_from([2, 1000]),
)
def test_matches_the_reference(norms: Any, window: int, **arguments: Any) -> None:
    arguments |= {"window": window, "floor": 0.25, "ceil": 8.0}
    result = replayed(norms, **arguments)
    rows = np.array(list(thresholds(norms, **arguments)))
    np.testing.assert_allclose(result.decisions.clip_norm, rows[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(result.gauges["limit"], result.decisions.clip_norm)
    np.testing.assert_allclose(result.gauges["clip_rate"], rows[:, 1], atol=1e-6)
    np.testing.assert_array_equal(result.gauges["adjustments"], rows[:, 2])


def test_story() -> None:
    """It opens for a rough start, and closes when the run has settled.

    A whole run's clip rate, in its place, would keep it open.
    """
    norms = np.concatenate([np.full(100, 3.0), np.full(300, 0.05)]).astype(np.float32)
    norms[[50, 250]] = np.nan, np.inf
    limit = np.asarray(replayed(norms, updates=10, window=20).decisions.clip_norm)
    assert limit[0] == 1
    np.testing.assert_allclose(limit[99], 1.2**7, rtol=1e-6)  # now nothing is clipped
    np.testing.assert_allclose(limit[-1], 1.2**-8, rtol=1e-6)  # 0.05 is 0.2 of 0.23
    assert np.all((limit >= np.float32(0.1)) & (limit <= 10))


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial": 0.01},
        {"initial": 20.0},
        {"floor": 0.0},
        {"ceil": -1.0},
        {"factor": 1.0},
        {"updates": 0},
        {"window": 0},
        {"clip_rate": -0.1},
        {"slack": 1.1},
        {"max_adjustments": 0},
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`clip.band\({name}=...\)` must be "):
        octl.clip.band(**wrong)
