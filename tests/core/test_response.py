"""`respond`: what an alarm sets in motion, and how it is given back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import Alarm, StopReason

STEPS = 32
UPS = st.lists(st.booleans(), min_size=STEPS, max_size=STEPS)


def alarms() -> octl.Controller:
    """Raises an alarm where its signal is positive."""
    return octl.Controller(
        init=lambda: jnp.zeros((), jnp.int32),
        update=lambda signals, state: (octl.decide(alarm=signals["up"] > 0), state),
        signals=frozenset({"up"}),
        gauges=lambda state: {},
    )


@jax.jit
def answered(up: Any, lr_scale: Any, clip_norm: Any, recover: Any) -> Any:
    c = octl.respond(
        alarms(),
        skip=True,
        rewind=True,
        lr_scale=lr_scale,
        clip_norm=clip_norm,
        stop=StopReason.NONFINITE,
        recover=recover,
    )
    return octl.replay(c, {"up": up}).decisions


@given(
    up=UPS,
    lr_scale=st.sampled_from([0.5, 0.1, 2.0]),
    clip_norm=st.floats(0.01, 10),
    recover=st.integers(0, 6),
)
def test_matches_the_reference(
    up: list[bool], lr_scale: float, clip_norm: float, recover: int
) -> None:
    decisions = answered(np.array(up, np.float32), lr_scale, clip_norm, recover)
    scales, since = [], None
    for raised in up:
        since = 0 if raised else None if since is None else since + 1
        left = 0.0 if since is None else max(0.0, 1 - since / (recover + 1))
        scales.append(lr_scale**left)
    rising = np.diff(np.array([0, *up], int)) > 0
    np.testing.assert_allclose(decisions.lr_scale, scales, rtol=1e-5)
    np.testing.assert_array_equal(decisions.skip, up)
    np.testing.assert_array_equal(decisions.rewind, rising)
    np.testing.assert_array_equal(decisions.alarm, np.array(up, int))
    np.testing.assert_array_equal(decisions.stop, np.array(up) * StopReason.NONFINITE)
    limit = np.where(up, np.float32(clip_norm), np.inf)
    np.testing.assert_array_equal(decisions.clip_norm, limit)


def test_a_rate_is_given_back_geometrically() -> None:
    """The alarm at 1 quarters the rate, the three updates after it restore it."""
    up = np.array([0, 1, 0, 0, 0, 0], np.float32)
    c = octl.respond(alarms(), lr_scale=0.25, recover=3)
    scale = octl.replay(c, {"up": up}).decisions.lr_scale
    np.testing.assert_allclose(
        scale, [1, 0.25, 0.25**0.75, 0.5, 0.25**0.25, 1], rtol=1e-6
    )


def test_a_response_moves_only_what_it_was_asked_to() -> None:
    c = octl.respond(octl.watch.nonfinite("loss"), rewind=True)
    decision, _ = c.update({"loss": jnp.inf}, c.init())
    assert decision == octl.decide()._replace(rewind=True, alarm=Alarm.NONFINITE_LOSS)


def test_guard_refuses_every_nonfinite_step_and_never_gives_in() -> None:
    losses = np.array([1.0] + [np.nan] * 50 + [1.0, np.inf, 1.0], np.float32)
    decisions = octl.replay(octl.guard("loss"), {"loss": losses}).decisions
    np.testing.assert_array_equal(decisions.skip, ~np.isfinite(losses))


@pytest.mark.parametrize(
    ("asks", "message"),
    [
        ({}, "must ask for something"),
        ({"lr_scale": 0.0}, r"`respond\(lr_scale=...\)` must be > 0, got 0.0"),
        ({"lr_scale": float("nan")}, r"`respond\(lr_scale=...\)` must be > 0, got nan"),
        ({"clip_norm": -1.0}, r"`respond\(clip_norm=...\)` must be > 0, got -1.0"),
        ({"skip": True, "recover": -1}, r"`respond\(recover=...\)` must be >= 0"),
    ],
)
def test_arguments_are_checked(asks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octl.respond(alarms(), **asks)
