from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import Alarm
from tests.core.strategies import positive_tapes


@jax.jit
def replayed(norms: Any, ratio: Any, decay: Any) -> Any:
    return octl.replay(octl.watch.vanishing(ratio, decay=decay), {"grad_norm": norms})


@given(
    norms=positive_tapes(),
    ratio=st.sampled_from([0.1, 0.9]),
    decay=st.sampled_from([0.5, 0.99]),
)
def test_matches_the_reference(norms: Any, ratio: float, decay: float) -> None:
    norms = np.abs(norms)
    result = replayed(norms, ratio, decay)
    mean = var = 0.0
    seen = 0
    for n, alarm, limit in zip(
        norms.astype(np.float64),
        result.decisions.alarm,
        result.gauges["limit"],
        strict=True,
    ):
        if not np.isfinite(n):
            assert (alarm, limit) == (0, 0)
            continue
        y = np.log(n)
        bound = ratio * np.exp(mean) if seen else 0.0
        mean, var = (mean, var) if seen else (y, 0.05)
        np.testing.assert_allclose(limit, bound, rtol=1e-4)
        if abs(n / bound - 1 if seen else 1) > 1e-3:
            assert alarm == (Alarm.VANISHING_GRADIENT if n < bound else 0)
        reach = 6 * (np.sqrt(var) + 0.01)
        b, d = max(1 - decay, 1 / (10 + seen)), np.clip(y - mean, -reach, reach)
        mean, var, seen = mean + b * d, (1 - b) * (var + b * d * d), seen + 1


def test_story() -> None:
    """Convergence over three decades is none, a collapse is; dead units stay so."""
    norms = np.geomspace(5, 5e-3, 600).astype(np.float32)
    norms[300:500] *= 1e-4
    norms[550:] = 0
    alarm = np.asarray(replayed(norms, 1e-3, 0.99).decisions.alarm)
    found = np.flatnonzero(alarm)
    assert found[0] == 300
    assert set(found) >= set(range(550, 600))
    assert 320 < found[found < 550][-1] < 360  # then the new level is the usual one
    assert not np.any(replayed(norms * 0, 1e-3, 0.99).decisions.alarm)


@pytest.mark.parametrize("wrong", [{"ratio": 0.0}, {"ratio": 1.0}, {"decay": 1.0}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`watch.vanishing\({name}=...\)` must be "):
        octl.watch.vanishing(**wrong)
