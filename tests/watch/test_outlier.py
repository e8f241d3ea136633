from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from tests.core.strategies import tapes


@partial(jax.jit, static_argnames=("window", "ddof"))
def replayed(losses: Any, **arguments: Any) -> Any:
    return octl.replay(octl.watch.outlier(**arguments), {"loss": losses})


def scores(losses: Any, window: int, min_updates: int, ddof: int, eps: float) -> Any:
    kept: list[float] = []
    for x in losses.astype(np.float64):
        last = kept[-window:]
        ready = np.isfinite(x) and len(last) >= min_updates
        with np.errstate(divide="ignore", invalid="ignore"):
            std = max(np.std(last, ddof=ddof), eps) if ready else 1.0
            yield np.nan_to_num((x - np.mean(last)) / std) if ready else 0.0
        kept += [x] if np.isfinite(x) else []


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("window", [2, 10, 128])
@given(losses=tapes(), min_updates=st.just(2), eps=st.sampled_from([1e-3, 0.1]))
def test_matches_the_reference(
    losses: Any, window: int, ddof: int, min_updates: int, eps: float
) -> None:
    how = {"window": window, "min_updates": min_updates, "ddof": ddof, "eps": eps}
    result = replayed(losses, threshold=2.0, **how)
    z = np.array(list(scores(losses, **how)))
    scale = 1e-4 * (1 + np.abs(losses[np.isfinite(losses)]).max(initial=0) / eps)
    np.testing.assert_allclose(result.gauges["z"], z, rtol=1e-3, atol=scale * 1e-2)
    clear = np.abs(z - 2) > 2e-3 * (1 + np.abs(z)) + scale * 1e-2
    alarms = np.asarray(result.decisions.alarm) == octl.Alarm.LOSS_SPIKE
    np.testing.assert_array_equal(alarms[clear], z[clear] > 2)


def test_a_tie_is_no_outlier_and_a_constant_has_no_spread() -> None:
    losses = np.array([1, 3, 4, 3], np.float32)  # mean 2, deviation 1: z = 2
    how = {"window": 2, "min_updates": 2, "ddof": 0, "eps": 0.0}
    assert not np.any(replayed(losses, threshold=2.0, **how).decisions.alarm)
    losses[2] = np.nextafter(np.float32(4), np.float32(5))
    alarms = replayed(losses, threshold=2.0, **how).decisions.alarm
    np.testing.assert_array_equal(np.flatnonzero(alarms), [2])
    flat = np.array([5, 5, 5, 5.001], np.float32)
    alarms = replayed(flat, threshold=6.0, **how).decisions.alarm
    np.testing.assert_array_equal(np.flatnonzero(alarms), [3])


def test_values_too_far_apart_for_float32_leave_a_true_gauge() -> None:
    losses = np.array([3e38, -3e38, 3e38, -3e38, 1.0, 2.0], np.float32)
    how = {"window": 4, "min_updates": 2, "ddof": 1, "eps": 0.0}
    result = replayed(losses, threshold=2.0, **how)
    assert np.all(np.isfinite(result.gauges["z"]))
    assert not np.any(result.decisions.alarm)


def test_story() -> None:
    """One NaN blinds no one: the spike after it is seen; a new level is accepted."""
    losses = 2 + 0.01 * np.sin(np.arange(400, dtype=np.float32))
    losses[100], losses[101], losses[200:] = np.nan, 9, 2.5
    how = {"window": 128, "min_updates": 64, "ddof": 1, "eps": 0.0}
    alarms = np.flatnonzero(replayed(losses, threshold=6.0, **how).decisions.alarm)
    assert alarms[0] == 101
    assert not np.any(alarms > 240)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"window": 1},
        {"min_updates": 1},
        {"min_updates": 200},
        {"ddof": 2},
        {"eps": -1.0},
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`watch.outlier\({name}=...\)` must be "):
        octl.watch.outlier(**wrong)
