"""`every`, `start_at`, `after` and `when`, against what they say in words."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl

STEPS = 24
X = np.arange(1, STEPS + 1, dtype=np.float32)


def echo() -> octl.Controller:
    """Decides its signal on every level and asks for both events, and counts."""

    def update(signals: Any, state: Any) -> Any:
        x = signals["x"]
        events = {"skip": jnp.isfinite(x), "rewind": jnp.isfinite(x)}
        levels = {"lr_scale": x, "clip_norm": x, "stop": x, "alarm": x}
        return octl.decide(**levels, **events, knobs={"dropout": x}), state + 1

    return octl.Controller(
        init=lambda: jnp.zeros((), jnp.int32),
        update=update,
        signals=frozenset({"x"}),
        gauges=lambda state: {"updates": state},
    )


@jax.jit
def replayed(updates: Any) -> Any:
    """Replays the three wrappers that count, for a traced number of updates."""
    wrappers = {"every": octl.every, "start_at": octl.start_at, "after": octl.after}
    return {n: octl.replay(w(updates, echo()), {"x": X}) for n, w in wrappers.items()}


@jax.jit
def replayed_when(live: Any) -> Any:
    c = octl.when(lambda s: s["live"] > 0, echo(), reads=("live",))
    return octl.replay(c, {"x": X, "live": live})


def assert_decides(result: Any, levels: np.ndarray, live: np.ndarray) -> None:
    """Levels are `levels`, NaN standing for neutral; events are up where `live`."""
    neutral = np.isnan(levels)
    for field, rest in (
        ("lr_scale", 1),
        ("clip_norm", np.inf),
        ("stop", 0),
        ("alarm", 0),
    ):
        expected = np.where(neutral, rest, levels)
        np.testing.assert_array_equal(getattr(result.decisions, field), expected)
    expected = np.where(neutral, 1, levels)
    np.testing.assert_array_equal(result.decisions.knobs["dropout"], expected)
    np.testing.assert_array_equal(result.decisions.skip, live)
    np.testing.assert_array_equal(result.decisions.rewind, live)


def held(live: np.ndarray) -> np.ndarray:
    """The value at the last live step, NaN before the first."""
    last = np.maximum.accumulate(np.where(live, np.arange(STEPS), -1))
    return np.where(last >= 0, X[last], np.nan)


@given(updates=st.integers(1, STEPS + 2))
def test_every_updates_at_the_nth_call_and_holds_its_levels(updates: int) -> None:
    result = replayed(updates)["every"]
    live = (np.arange(STEPS) + 1) % updates == 0
    assert_decides(result, held(live), live)
    np.testing.assert_array_equal(result.gauges["updates"], np.cumsum(live))


@given(updates=st.integers(0, STEPS + 2))
def test_start_at_leaves_the_controller_alone_until_then(updates: int) -> None:
    result = replayed(updates)["start_at"]
    live = np.arange(STEPS) >= updates
    assert_decides(result, held(live), live)
    np.testing.assert_array_equal(result.gauges["updates"], np.cumsum(live))


@given(updates=st.integers(0, STEPS + 2))
def test_after_updates_but_mutes(updates: int) -> None:
    result = replayed(updates)["after"]
    live = np.arange(STEPS) >= updates
    assert_decides(result, np.where(live, X, np.nan), live)
    np.testing.assert_array_equal(result.gauges["updates"], np.arange(STEPS) + 1)


@given(live=st.lists(st.booleans(), min_size=STEPS, max_size=STEPS))
def test_when_holds_levels_and_never_repeats_an_event(live: list[bool]) -> None:
    result = replayed_when(np.array(live, np.float32))
    assert_decides(result, held(np.array(live)), np.array(live))
    np.testing.assert_array_equal(result.gauges["updates"], np.cumsum(live))


def test_when_reads_what_its_predicate_reads() -> None:
    c = octl.when(lambda s: s["loss"] < 2, octl.clip.zscore(), reads=("loss",))
    assert c.signals == {"loss", "grad_norm"}


def test_a_rule_under_after_may_change_its_mind() -> None:
    values = {"val_loss": np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5], np.float32)}
    c = octl.after(3, octl.stop.patience(2))
    np.testing.assert_array_equal(
        octl.replay(c, values).decisions.stop, [0, 0, 0, 0, 0, 1]
    )


def test_every_counts_the_updates_of_the_controller_not_the_calls() -> None:
    c = octl.every(3, octl.stop.patience(2))
    decisions = octl.replay(c, {"val_loss": np.ones(12, np.float32)}).decisions
    np.testing.assert_array_equal(np.flatnonzero(decisions.stop), [8, 9, 10, 11])


@pytest.mark.parametrize(
    ("wrapper", "low"), [("every", 1), ("start_at", 0), ("after", 0)]
)
def test_arguments_are_checked(wrapper: str, low: int) -> None:
    build = getattr(octl, wrapper)
    build(low, echo())
    with pytest.raises(
        ValueError, match=rf"`{wrapper}\(updates=...\)` must be >= {low}"
    ):
        build(low - 1, echo())
    with pytest.raises(ValueError, match=f"must be a whole number >= {low}, got 2.5"):
        build(2.5, echo())
