from typing import Any

import numpy as np
import pytest

import optaxctl as octl
from optaxctl import StopReason

SERIES = {
    "val_loss": np.array([3, 1, 3, 1, 9], np.float32),
    "accuracy": np.array([0.1, 0.1, 0.9, 0.9, 0.9], np.float32),
}
LOW = octl.stop.target(2.0)
HIGH = octl.stop.limit(5.0)
GOOD = octl.stop.target(0.5, monitor="accuracy", mode="max")


def stops(c: octl.Controller) -> list[int]:
    return octl.replay(c, SERIES).decisions.stop.tolist()


def test_any_gives_the_reasons_of_all_that_are_met() -> None:
    t, both = int(StopReason.TARGET), int(StopReason.TARGET | StopReason.LIMIT)
    assert stops(octl.stop.any_of(low=LOW, high=HIGH)) == [0, t, 0, t, both - t]
    assert stops(octl.stop.any_of(good=GOOD, high=HIGH)) == [0, 0, t, t, both]


def test_all_must_agree_in_one_update() -> None:
    t, both = int(StopReason.TARGET), int(StopReason.TARGET | StopReason.LIMIT)
    assert stops(octl.stop.all_of(low=LOW, good=GOOD)) == [0, 0, 0, t, 0]
    assert stops(octl.stop.all_of(high=HIGH, good=GOOD)) == [0, 0, 0, 0, both]
    nested = octl.stop.all_of(good=GOOD, either=octl.stop.any_of(low=LOW, high=HIGH))
    assert stops(nested) == [0, 0, 0, t, both]
    assert "either/low/consecutive" in nested.gauges(nested.init())


def test_a_minimum_of_updates_does_not_latch_an_early_verdict() -> None:
    """Lightning stops at its `min_epochs` even if the run has recovered since."""
    losses = np.array([1, 2, 2, 0.5, 0.4, 0.3, 0.3, 0.3], np.float32)
    stale = octl.stop.patience(2)
    seen = lambda c: octl.replay(c, {"val_loss": losses}).decisions.stop.tolist()
    assert seen(stale) == [0, 0, 1, 0, 0, 0, 0, 1]
    assert seen(octl.after(4, stale)) == [0, 0, 0, 0, 0, 0, 0, 1]
    assert seen(octl.start_at(5, stale)) == [0, 0, 0, 0, 0, 0, 0, 1]
    assert seen(octl.start_at(6, stale)) == [0] * 8


@pytest.mark.parametrize("combine", [octl.stop.any_of, octl.stop.all_of])
def test_only_rules_of_stopping_are_taken(combine: Any) -> None:
    name = combine.__name__
    with pytest.raises(TypeError, match=rf"`stop.{name}` carries out stop only, and"):
        combine(rate=octl.lr.plateau(3))
    with pytest.raises(ValueError, match="at least one"):
        combine()
