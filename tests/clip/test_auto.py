from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from tests.core.strategies import positive_tapes


@partial(jax.jit, static_argnames="prior")
def replayed(norms: Any, prior: bool = False, **arguments: Any) -> Any:
    if not prior:
        arguments.pop("prior_norm", None)
    return octl.replay(octl.clip.auto(**arguments), {"grad_norm": norms})


def limits(
    norms: Any, deviations: float, decay: float, max_norm: float, prior_norm: Any
) -> Any:
    mean, var, seen = 0.0, 0.25, 0
    past = [] if prior_norm is None else [prior_norm]
    for i, n in enumerate([*past, *norms.astype(np.float64)]):
        bound = np.inf
        if np.isfinite(n) and seen:
            bound = np.exp(mean + deviations * (np.sqrt(var) + 0.01))
        if i >= len(past):
            yield min(bound, max_norm)
        if not np.isfinite(n) or n <= 0:
            continue
        mean = mean if seen else np.log(n)
        reach = 3 * (np.sqrt(var) + 0.01)
        b = max(1 - decay, 1 / (10 + seen))
        d = np.clip(np.log(n) - mean, -reach, reach)
        mean, var, seen = mean + b * d, (1 - b) * (var + b * d * d), seen + 1


@pytest.mark.parametrize("prior", [False, True])
@given(
    norms=positive_tapes(),
    deviations=st.sampled_from([1.0, 2.5]),
    decay=st.sampled_from([0.5, 0.97]),
    max_norm=st.sampled_from([1.0, float("inf")]),
    prior_norm=st.sampled_from([0.1, 10.0]),
)
def test_matches_the_reference(norms: Any, prior: bool, **arguments: Any) -> None:
    norms = np.where(norms == -np.inf, 0, norms).astype(np.float32)
    result = replayed(norms, prior, **arguments)
    arguments["prior_norm"] = arguments["prior_norm"] if prior else None
    expected = list(limits(norms, **arguments))
    np.testing.assert_allclose(result.decisions.clip_norm, expected, rtol=1e-4)
    np.testing.assert_array_equal(result.gauges["limit"], result.decisions.clip_norm)


def test_story() -> None:
    """NaN, 0 and 1e30 early on do no harm, and a lasting rise is followed."""
    rng = np.random.default_rng(0)
    norms = np.exp(0.15 * rng.normal(size=(50, 400))).astype(np.float32)
    norms[:, 2], norms[:, 3], norms[:, 4], norms[:, 200:] = np.nan, 0, 1e30, 10
    result = jax.jit(jax.vmap(replayed))(norms)
    limit = np.asarray(result.decisions.clip_norm)
    clipped = norms > limit
    assert np.all(clipped[:, 4])
    assert np.all(limit[:, 4:200] < 10)
    assert np.mean(clipped[:, 5:200]) < 0.01
    assert np.all(clipped[:, 200:205])
    assert not np.any(clipped[:, 225:])


def test_the_usual_norm_is_a_gauge() -> None:
    usual = replayed(np.array([np.nan, 2, 2, 2], np.float32)).gauges["usual_norm"]
    np.testing.assert_allclose(usual, [0, 2, 2, 2], rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"deviations": 0.0}, {"decay": 1.0}, {"max_norm": 0.0}, {"prior_norm": 0.0}],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`clip.auto\({name}=...\)` must be "):
        octl.clip.auto(**wrong)
