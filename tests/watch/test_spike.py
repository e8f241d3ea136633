from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import Alarm
from tests.core.strategies import positive_tapes


@partial(jax.jit, static_argnames="scale")
def replayed(xs: Any, **arguments: Any) -> Any:
    return octl.replay(octl.watch.spike(**arguments), {"loss": xs})


def z_scores(xs: Any, *, scale: str, decay: float) -> Any:
    """Yields the z-score of each value: 0 where it is broken or outside the domain."""
    mean = var = None
    seen = 0
    for x in xs.astype(np.float64):
        y = np.log(x) if scale == "log" and x > 0 else x
        if not np.isfinite(y) or (scale == "log" and x <= 0):
            yield 0.0
            continue
        if mean is None:
            mean, var = y, 0.05 if scale == "log" else 0.05 * y**2
        std = np.sqrt(var) + 0.01 * (1 if scale == "log" else abs(mean))
        yield (y - mean) / std
        b = max(1 - decay, 1 / (10 + seen))
        d = np.clip(y - mean, -3 * std, 3 * std)
        mean, var, seen = mean + b * d, (1 - b) * (var + b * d**2), seen + 1


@pytest.mark.parametrize("scale", ["log", "linear"])
@given(
    xs=positive_tapes(),
    threshold=st.sampled_from([1.0, 3.0, 10.0]),
    decay=st.sampled_from([0.5, 0.9, 0.99]),
    negative=st.booleans(),
)
def test_matches_the_reference(
    xs: Any, scale: str, threshold: float, decay: float, negative: bool
) -> None:
    xs = -xs if negative else xs
    result = replayed(xs, scale=scale, threshold=threshold, decay=decay)
    z = np.array(list(z_scores(xs, scale=scale, decay=decay)))
    np.testing.assert_allclose(result.gauges["z"], z, rtol=2e-3, atol=2e-3)
    outside = np.isfinite(xs) & (xs <= 0) & (scale == "log")
    alarm = np.where(z > threshold, Alarm.LOSS_SPIKE, 0)
    alarm |= np.where(outside, Alarm.OUT_OF_DOMAIN, 0)
    np.testing.assert_array_equal(result.decisions.alarm, alarm)


@given(xs=positive_tapes(), scale=st.integers(-10, 10).map(lambda n: 2.0**n))
def test_the_unit_of_the_signal_does_not_matter(xs: Any, scale: float) -> None:
    rule: Any = {"scale": "linear", "threshold": 3.0, "decay": 0.9}
    alarms = [replayed(x, **rule).decisions.alarm for x in (xs, np.float32(scale) * xs)]
    np.testing.assert_array_equal(*alarms)


def test_story() -> None:
    """A spike in the second step, NaN, a spike of days, accepted after a while."""
    losses = np.array([2.0, 80.0, 2.0, np.nan, 2.0] + [40.0] * 60, np.float32)
    alarm = np.asarray(
        octl.replay(octl.watch.spike(6.0), {"loss": losses}).decisions.alarm
    )
    assert alarm[1] == Alarm.LOSS_SPIKE
    assert not alarm[[0, 2, 3, 4]].any()
    up = np.flatnonzero(alarm[5:])
    np.testing.assert_array_equal(up, np.arange(up.size))
    assert 1 <= up.size < 30


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_a_tie_is_no_spike(scale: str) -> None:
    xs = np.array([1.0, 1.1, 1.7], np.float32)
    z = replayed(xs, scale=scale, threshold=1.0, decay=0.9).gauges["z"][-1]
    for threshold, alarms in ((z, 0), (np.nextafter(z, np.float32(0)), 1)):
        result = replayed(xs, scale=scale, threshold=threshold, decay=0.9)
        assert np.count_nonzero(result.decisions.alarm) == alarms


def test_a_value_outside_the_logarithm_is_named() -> None:
    values = {"loss": np.array([1.0, 0.0, -1.0, -np.inf], np.float32)}
    alarm = octl.replay(octl.watch.spike(), values).decisions.alarm
    np.testing.assert_array_equal(
        alarm, [0, Alarm.OUT_OF_DOMAIN, Alarm.OUT_OF_DOMAIN, 0]
    )


@pytest.mark.parametrize(
    ("monitor", "bit"),
    [
        ("loss", Alarm.LOSS_SPIKE),
        ("grad_norm", Alarm.GRADIENT_SPIKE),
        ("entropy", Alarm.SIGNAL_SPIKE),
    ],
)
def test_the_bit_names_the_signal(monitor: str, bit: Alarm) -> None:
    values = {monitor: np.array([1.0, 1e9], np.float32)}
    alarm = octl.replay(octl.watch.spike(monitor=monitor), values).decisions.alarm
    np.testing.assert_array_equal(alarm, [0, bit])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 0.0}, r"`watch.spike\(threshold=...\)` must be > 0, got 0.0"),
        ({"decay": 0.0}, r"`watch.spike\(decay=...\)` must be > 0 and < 1, got 0.0"),
        ({"scale": "ln"}, r"must be 'log' or 'linear', got 'ln'."),
    ],
)
def test_arguments_are_checked(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octl.watch.spike(**arguments)


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_a_lasting_level_ends_the_alarm(scale: str) -> None:
    xs = np.array([1.0] * 5000 + [2.0] * 5000, np.float32)
    alarm = np.asarray(replayed(xs, scale=scale, threshold=10.0).decisions.alarm)
    assert alarm[5000]
    assert not alarm[-1000:].any()
