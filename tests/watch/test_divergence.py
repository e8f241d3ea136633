from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import Alarm
from tests.core.strategies import tapes
from tests.jitted import jitted


@partial(jitted, static_argnames="scale")
def replayed(losses: Any, scale: str, **arguments: Any) -> Any:
    watcher = octl.watch.divergence(scale=scale, **arguments)  # pyright: ignore[reportArgumentType]
    z = octl.replay(octl.watch.spike(scale=scale), {"loss": losses}).gauges["z"]  # pyright: ignore[reportArgumentType]
    return octl.replay(watcher, {"loss": losses}), z


@pytest.mark.parametrize("scale", ["log", "linear"])
@given(
    losses=tapes(),
    threshold=st.sampled_from([1.0, 3.0]),
    updates=st.integers(1, 4),
    factor=st.sampled_from([2.0, 10.0]),
)
def test_is_the_three_tests_in_one(
    losses: Any, scale: str, threshold: float, updates: int, factor: float
) -> None:
    how = {"threshold": threshold, "updates": updates, "factor": factor}
    result, scores = replayed(losses, scale, **how)
    first, row = None, 0
    for i, (x, z) in enumerate(zip(losses, np.asarray(scores), strict=True)):
        row = row + 1 if z > threshold else 0
        far = first is not None and first > 0 and x > np.float32(factor) * first
        up = not np.isfinite(x) or row >= updates or (far and scale == "log")
        alarm = int(result.decisions.alarm[i])
        assert bool(alarm & Alarm.DIVERGENCE) == up
        assert not alarm & ~(Alarm.DIVERGENCE | Alarm.OUT_OF_DOMAIN)
        outside = np.isfinite(x) and (x <= 0 or (first is not None and first <= 0))
        assert bool(alarm & Alarm.OUT_OF_DOMAIN) == (outside and scale == "log")
        assert result.gauges["consecutive"][i] == row
        first = x if first is None and np.isfinite(x) else first
    np.testing.assert_allclose(result.gauges["z"], scores, rtol=1e-5, atol=1e-5)


def test_story() -> None:
    """One spike is none; a slow rise is seen in its fifth step, a NaN at once."""
    rng = np.random.default_rng(0)
    losses = (2 * np.exp(0.02 * rng.normal(size=300))).astype(np.float32)
    losses[100] = 9
    losses[200:220] *= np.linspace(1.5, 8, 20)
    losses[250] = np.nan
    how = {"threshold": 4.0, "updates": 5, "factor": 10.0}
    alarm = np.asarray(replayed(losses, "log", **how)[0].decisions.alarm)
    assert np.flatnonzero(alarm)[0] == 204
    assert alarm[250] == Alarm.DIVERGENCE
    assert not np.any(alarm[[100, 240, 251, 299]])
    signed = np.asarray(replayed(losses - 3, "linear", **how)[0].decisions.alarm)
    assert not np.any(signed & ~Alarm.DIVERGENCE)
    assert np.flatnonzero(signed)[0] == 204


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 0.0}, r"`watch.divergence\(threshold=...\)` must be > 0"),
        ({"updates": 0}, r"`watch.divergence\(updates=...\)` must be >= 1"),
        ({"factor": 1.0}, r"`watch.divergence\(factor=...\)` must be > 1"),
        ({"scale": "cubic"}, r"`watch.divergence\(scale=...\)` must be 'log'"),
        ({"decay": 1.0}, r"`watch.divergence\(decay=...\)` must be > 0 and < 1"),
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octl.watch.divergence(**wrong)
