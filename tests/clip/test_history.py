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
    return octl.replay(octl.clip.history(**arguments), {"grad_norm": norms})


def limits(
    norms: Any, deviations: float, window: int, min_updates: int, max_norm: float,
    eps: float,
) -> Any:  # fmt: skip
    kept: list[float] = []
    for n in norms.astype(np.float64):
        last = kept[-window:]
        bound = np.inf
        if np.isfinite(n) and len(last) >= min_updates:
            bound = np.mean(last) + deviations * max(np.std(last), eps)
        yield min(bound, max_norm)
        kept += [n] if np.isfinite(n) else []


@pytest.mark.parametrize("window", [5, 20, 128])
@given(
    norms=positive_tapes(),
    deviations=st.sampled_from([1.0, 3.0]),
    min_updates=st.integers(1, 5),
    max_norm=st.sampled_from([1.0, float("inf")]),
    eps=st.sampled_from([0.0, 1e-2]),
)
def test_matches_the_reference(norms: Any, window: int, **arguments: Any) -> None:
    arguments |= {"window": window}
    result = replayed(norms, **arguments)
    expected = list(limits(norms, **arguments))
    np.testing.assert_allclose(result.decisions.clip_norm, expected, rtol=1e-4)
    np.testing.assert_array_equal(result.gauges["limit"], result.decisions.clip_norm)


def test_a_huge_norm_is_a_number_like_another() -> None:
    norms = np.array([1e30, 2e30, 3e30, 1e38, 3e38, 1e30], np.float32)
    limit = replayed(norms, deviations=1.0, window=3, min_updates=2).decisions.clip_norm
    expected = list(limits(norms, 1.0, 3, 2, np.inf, 0.0))
    np.testing.assert_allclose(limit, expected, rtol=1e-5)


def test_story() -> None:
    """Mean 2, deviation 1: 9 is cut to 4; afterwards the spike lifts the limit."""
    norms = np.array([1, 3, 1, 3, 9, 3], np.float32)
    c = octl.clip.history(2.0, window=4, min_updates=4)
    limit = octl.replay(c, {"grad_norm": norms}).decisions.clip_norm
    np.testing.assert_allclose(limit, [*[np.inf] * 4, 4, 10], rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"deviations": 0.0},
        {"window": 1},
        {"min_updates": 0},
        {"min_updates": 200},
        {"max_norm": 0.0},
        {"eps": -1.0},
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`clip.history\({name}=...\)` must be "):
        octl.clip.history(**wrong)
