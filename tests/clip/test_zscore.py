import re
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from tests.core.strategies import positive_tapes


@partial(jax.jit, static_argnames="limit")
def replayed(norms: Any, **arguments: Any) -> Any:
    return octl.replay(octl.clip.zscore(**arguments), {"grad_norm": norms})


def limits(
    norms: Any, *, threshold: float, decay: float, warmup_updates: int, limit: str,
    limit_factor: float, max_norm: float, eps: float
) -> Any:  # fmt: skip
    """Yields the limit, the mean and the deviation after each update."""
    seen: list[float] = []
    mean = var = 0.0
    for n in norms.astype(np.float64):
        bound = np.inf
        if not np.isfinite(n):
            yield max_norm, mean, np.sqrt(var)
            continue
        if len(seen) < warmup_updates:
            seen.append(n)
            mean, var = np.mean(seen), np.var(seen)
        else:
            std = np.sqrt(var)
            z = (n - mean) / (std + eps)
            if z > threshold:
                bound = {
                    "adaptive": limit_factor * (mean + threshold**2 * std / z),
                    "mean": mean,
                    "threshold": mean + threshold * std,
                }[limit]
            x = min(n, bound)
            mean = decay * mean + (1 - decay) * x
            var = decay * var + (1 - decay) * (x - mean) ** 2
        yield min(bound, max_norm), mean, np.sqrt(var)


@pytest.mark.parametrize("limit", ["adaptive", "mean", "threshold"])
@given(
    norms=positive_tapes(),
    threshold=st.sampled_from([1.5, 2.5]),
    decay=st.sampled_from([0.7, 0.97]),
    warmup_updates=st.integers(2, 30),
    limit_factor=st.sampled_from([0.8, 1.0]),
    max_norm=st.sampled_from([1.0, 100.0, float("inf")]),
    eps=st.sampled_from([0.0, 1e-6, 1e-2]),
)
def test_matches_the_reference(norms: Any, limit: str, **arguments: Any) -> None:
    arguments |= {"limit": limit}
    result = replayed(norms, **arguments)
    expected = [np.array(c) for c in zip(*limits(norms, **arguments), strict=True)]
    np.testing.assert_allclose(result.decisions.clip_norm, expected[0], rtol=2e-4)
    np.testing.assert_array_equal(result.gauges["limit"], result.decisions.clip_norm)
    np.testing.assert_allclose(result.gauges["norm_mean"], expected[1], rtol=2e-4)
    largest = np.max(norms[np.isfinite(norms)], initial=0)
    np.testing.assert_allclose(
        result.gauges["norm_std"], expected[2], rtol=2e-3, atol=1e-4 * largest
    )


def test_story() -> None:
    """It learns 1, 2, 3; 20 is clipped at 4 and does not blind it to 20 at 6."""
    norms = np.array([1, 2, 3, 2, 20, 2, 20, 2], np.float32)
    c = octl.clip.zscore(2.0, warmup_updates=3, limit="threshold", decay=0.9)
    limit = np.asarray(octl.replay(c, {"grad_norm": norms}).decisions.clip_norm)
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(limit)), [4, 6])
    assert np.all(limit[[4, 6]] < 5)


def test_a_tie_is_not_clipped() -> None:
    """Mean 2 and deviation 1 exactly: 4 has the z-score 2."""
    c = octl.clip.zscore(2.0, warmup_updates=2, eps=0.0)
    norms = np.array([1, 3, 4, 1, 3], np.float32)
    decisions = octl.replay(c, {"grad_norm": norms}).decisions
    assert np.all(np.isinf(decisions.clip_norm))
    norms[2] = np.nextafter(np.float32(4), np.float32(5))
    decisions = octl.replay(c, {"grad_norm": norms}).decisions
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(decisions.clip_norm)), [2])


def test_a_constant_norm_that_jumps_is_clipped_to_what_it_was() -> None:
    c = octl.clip.zscore(warmup_updates=2, eps=0.0)
    norms = np.array([3, 3, 3, 9], np.float32)
    limit = octl.replay(c, {"grad_norm": norms}).decisions.clip_norm
    np.testing.assert_array_equal(limit, [np.inf, np.inf, np.inf, 3])


def test_a_lasting_rise_of_the_norm_is_accepted() -> None:
    noise = np.exp(0.1 * np.random.default_rng(0).normal(size=4000))
    norms = np.where(np.arange(4000) < 1000, noise, 2 * noise).astype(np.float32)
    limit = octl.replay(octl.clip.zscore(), {"grad_norm": norms}).decisions.clip_norm
    clipped = np.asarray(norms > limit)
    assert clipped[1000:1010].all()
    assert clipped[1100:].mean() < 0.02


def test_a_huge_finite_norm_does_not_end_the_clipping() -> None:
    c = octl.clip.zscore(warmup_updates=3)
    norms = np.array([1.0, 1.2, 3e38, 0.8, 1.0, 1e4], np.float32)
    result = octl.replay(c, {"grad_norm": norms})
    assert np.all(np.isfinite(result.gauges["norm_std"]))
    assert result.decisions.clip_norm[-1] < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, "threshold=...)` must be > 0, got 0.0"),
        ({"decay": 1.0}, "decay=...)` must be > 0 and < 1, got 1.0"),
        ({"warmup_updates": 0}, "warmup_updates=...)` must be >= 1, got 0"),
        ({"limit": "max"}, "limit=...)` must be 'threshold' or 'adaptive' or 'mean'"),
        ({"limit_factor": -1.0}, "limit_factor=...)` must be > 0, got -1.0"),
        ({"max_norm": 0.0}, "max_norm=...)` must be > 0, got 0.0"),
        ({"eps": -1e-9}, "eps=...)` must be >= 0, got -1e-09"),
    ],
)
def test_arguments_are_checked(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"`clip.zscore({message}")):
        octl.clip.zscore(**arguments)
