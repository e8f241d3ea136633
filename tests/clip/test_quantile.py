from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from tests.core.strategies import positive_tapes


@partial(jax.jit, static_argnames=("window", "current"))
def replayed(norms: Any, **arguments: Any) -> Any:
    return octl.replay(octl.clip.quantile(**arguments), {"grad_norm": norms})


def limits(
    norms: Any, level: float, window: int, current: bool, max_norm: float
) -> Any:
    kept: list[float] = []
    for n in norms.astype(np.float64):
        seen = [*kept, n] if current and np.isfinite(n) else kept
        bound = np.quantile(seen[-window:], level) if seen else np.inf
        yield min(bound if np.isfinite(n) else np.inf, max_norm)
        kept += [n] if np.isfinite(n) else []


@pytest.mark.parametrize("current", [True, False])
@pytest.mark.parametrize("window", [1, 7, 300])
@given(
    norms=positive_tapes(),
    level=st.sampled_from([0.1, 0.5, 0.9]),
    max_norm=st.sampled_from([1.0, float("inf")]),
)
def test_matches_the_reference(
    norms: Any, window: int, current: bool, level: float, max_norm: float
) -> None:
    how = {"level": level, "window": window, "current": current, "max_norm": max_norm}
    result = replayed(norms, **how)
    expected = list(limits(norms, **how))
    np.testing.assert_allclose(result.decisions.clip_norm, expected, rtol=1e-5)
    np.testing.assert_array_equal(result.gauges["limit"], result.decisions.clip_norm)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_the_estimate_from_all_norms_clips_as_many_as_it_says(level: float) -> None:
    norms = np.exp(np.random.default_rng(0).normal(size=20_000)).astype(np.float32)
    limit = replayed(norms, level=level, window=None).decisions.clip_norm
    assert np.isinf(limit[0])
    below = np.mean(norms[1000:] <= np.asarray(limit[1000:]))
    assert below == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize("window", [None, 10])
def test_zeros_and_outliers_keep_it_alive(window: int | None) -> None:
    norms = np.array([0, 0, 0, 1e30, 1, 1, 1, 1], np.float32)
    limit = replayed(norms, level=0.5, window=window).decisions.clip_norm
    assert np.all(np.isfinite(limit[1:]))


def test_story() -> None:
    """A tenfold norm is cut to the median; a NaN is not remembered."""
    norms = np.array([1.0, 1.2, 0.8, 10.0, np.nan, 1.0], np.float32)
    limit = replayed(norms, level=0.5, window=5).decisions.clip_norm
    np.testing.assert_allclose(limit, [np.inf, 1.0, 1.1, 1.0, np.inf, 1.1], rtol=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"level": 0.0}, {"level": 1.5}, {"window": 0}, {"max_norm": 0.0}]
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`clip.quantile\({name}=...\)` must be "):
        octl.clip.quantile(**wrong)
