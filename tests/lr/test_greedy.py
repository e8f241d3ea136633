from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import optaxctl as octl
from tests.core.strategies import tapes
from tests.oracles._greedy import Setting, agrees, observed, reference

USUAL = Setting(
    rate=1.0,
    updates=2,
    factor=0.5,
    mode="min",
    atol=0.0,
    rtol=0.0,
    window=1,
    cooldown=0,
    warmup=0,
    floor=0.1,
    ceil=4.0,
    restart_after=1000,
    eps=0.0,
)


def scales(metrics: Any, **arguments: Any) -> list[float]:
    controller = octl.lr.greedy(**{"updates": 2, "factor": 0.5, **arguments})
    signals = {"loss": np.asarray(metrics, np.float32)}
    return np.asarray(octl.replay(controller, signals).decisions.lr_scale).tolist()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mode": "max", "atol": 0.25},
        {"rtol": 0.5, "updates": 1},
        {"cooldown": 2, "warmup": 1},
        {"restart_after": 2, "floor": 0.5},
        {"updates": 1, "ceil": 1.5, "floor": 1.0},
    ],
)
@settings(max_examples=25)
@given(metrics=tapes(broken=False))
def test_matches_the_reference(change: dict[str, Any], metrics: Any) -> None:
    how = USUAL._replace(**change)
    assert agrees(observed(metrics, how), reference(metrics, how, frozenset()))


def test_a_window_judges_its_mean() -> None:
    """Means 4, 3.5, 3: two gains; and 2.5, 3, 3.5, 4: two misses twice."""
    metrics = [4, 3, 3, 2, 4, 3, 5]
    assert scales(metrics, window=2) == [1, 2, 2, 4, 4, 2, 2]


def test_fifty_refused_raises_do_not_delay_the_next_cut() -> None:
    metrics = [*range(60, 0, -1), 1, 1]
    assert scales(metrics, ceil=2.0)[-3:] == [2, 2, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_broken_value_is_passed_over_or_counts(bad: float) -> None:
    metrics = [4.0, bad, 3.0, 3.0, bad]
    assert scales(metrics) == [1, 1, 2, 2, 2]
    assert scales(metrics, nonfinite="count") == [1, 1, 1, 1, 0.5]


def test_restart_forgets_the_best() -> None:
    """At the floor twice: it starts over, and 9 is the first value again."""
    metrics = [1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 8.0]
    values = scales(metrics, floor=0.5, restart_after=2)
    assert values == [1, 1, 0.5, 0.5, 1, 1, 2]


def test_never_restarts_with_none() -> None:
    metrics = np.ones(5000)
    assert scales(metrics, floor=0.5, restart_after=None)[-1] == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"updates": 0},
        {"factor": 1.0},
        {"window": 0},
        {"floor": 1.5},
        {"ceil": 0.5},
        {"restart_after": 0},
        {"warmup": -1},
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`lr.greedy\({name}=...\)` must be "):
        octl.lr.greedy(**wrong)
