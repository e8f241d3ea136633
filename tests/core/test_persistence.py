"""`lasting`: an alarm counts once it has been up often enough."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import Alarm
from tests.jitted import jitted

STEPS = 32
BITS = st.sampled_from([0, 0, Alarm.LOSS_SPIKE, Alarm.NONFINITE_LOSS])
OWN = st.sampled_from([0, 0, Alarm.OUT_OF_DOMAIN, Alarm.INVALID_DECISION])


def alarms() -> octl.Controller:
    """Raises the alarm that its signal says, and skips where there is one."""

    def update(signals: Any, state: Any) -> Any:
        bits = jnp.asarray(signals["bits"], jnp.int32)
        return octl.decide(alarm=bits, skip=bits != 0), state

    return octl.Controller(tuple, update, frozenset({"bits"}), lambda state: {})


@partial(jitted, static_argnames="within")
def lasted(bits: Any, updates: Any, within: int | None) -> Any:
    return octl.replay(octl.lasting(updates, alarms(), within=within), {"bits": bits})


@pytest.mark.parametrize("within", [None, 1, 5])
@given(
    bits=st.lists(BITS, min_size=STEPS, max_size=STEPS),
    own=st.lists(OWN, min_size=STEPS, max_size=STEPS),
    data=st.data(),
)
def test_matches_the_reference(
    bits: list[int], own: list[int], data: Any, within: int | None
) -> None:
    updates = data.draw(st.integers(1, within or 6))
    both = np.array(bits) | np.array(own)
    result = lasted(both.astype(np.float32), updates, within)
    gauge = result.gauges["consecutive" if within is None else "up"]
    row = 0
    for i, up in enumerate(bits):
        row = row + 1 if up else 0
        last = bits[max(0, i + 1 - within) : i + 1] if within else []
        counted = sum(map(bool, last)) if within else row
        assert gauge[i] == counted
        assert result.decisions.alarm[i] == (up if counted >= updates else 0) | own[i]
    np.testing.assert_array_equal(result.decisions.skip, both != 0)


def test_story() -> None:
    """One broken loss in five is bad luck; three in five are not, and stop the run."""
    losses = np.array([1, np.nan, 1, 1, 1, np.nan, 1, np.inf, np.nan, 1, 1], np.float32)
    persistent = octl.lasting(3, octl.watch.nonfinite("loss"), within=5)
    c = octl.respond(persistent, stop=octl.StopReason.NONFINITE)
    stops = octl.replay(c, {"loss": losses}).decisions.stop
    np.testing.assert_array_equal(np.flatnonzero(stops), [8])


def test_gauges_of_the_watcher_stay() -> None:
    c = octl.lasting(2, octl.watch.spike(), within=3)
    assert set(c.gauges(c.init())) == {"z", "up"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"updates": 0}, r"`lasting\(updates=...\)` must be >= 1, got 0"),
        ({"updates": 2, "within": 0}, r"`lasting\(within=...\)` must be >= 1"),
        ({"updates": 3, "within": 2}, r"must be >= updates = 3, got 2"),
    ],
)
def test_arguments_are_checked(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octl.lasting(watcher=alarms(), **arguments)
