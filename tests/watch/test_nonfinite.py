from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given

import optaxctl as octl
from optaxctl import Alarm
from tests.core.strategies import tapes, updates

SIGNALS = {
    "loss": Alarm.NONFINITE_LOSS,
    "grad_norm": Alarm.NONFINITE_GRADIENT,
    "entropy": Alarm.NONFINITE_SIGNAL,
}


@jax.jit
def replayed(values: Any, updates: Any) -> Any:
    return octl.replay(octl.watch.nonfinite(*SIGNALS, updates=updates), values)


@given(xs=tapes(), ys=tapes(), zs=tapes(), updates=updates)
def test_matches_the_reference(xs: Any, ys: Any, zs: Any, updates: int) -> None:
    values = dict(zip(SIGNALS, (xs, ys, zs), strict=True))
    result = replayed(values, updates)
    consecutive = total = 0
    for i in range(xs.size):
        bits = [
            bit for name, bit in SIGNALS.items() if not np.isfinite(values[name][i])
        ]
        consecutive, total = (consecutive + 1, total + 1) if bits else (0, total)
        alarm = sum(bits) if consecutive >= updates else 0
        assert result.decisions.alarm[i] == alarm
        assert result.gauges["consecutive"][i] == consecutive
        assert result.gauges["total"][i] == total


def test_story() -> None:
    """One NaN passes; the second in a row raises the alarm until it is over."""
    losses = np.array([1, np.nan, 1, np.nan, np.inf, -np.inf, 1], np.float32)
    c = octl.watch.nonfinite("loss", updates=2)
    alarm = octl.replay(c, {"loss": losses}).decisions.alarm
    np.testing.assert_array_equal(np.flatnonzero(alarm), [4, 5])


def test_reads_loss_and_gradient_norm_by_default() -> None:
    assert octl.watch.nonfinite().signals == {"loss", "grad_norm"}


def test_arguments_are_checked() -> None:
    with pytest.raises(
        ValueError, match=r"`watch.nonfinite\(updates=...\)` must be >= 1"
    ):
        octl.watch.nonfinite(updates=0)
