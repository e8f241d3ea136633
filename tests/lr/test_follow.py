from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl


@jax.jit
def guarded(losses: Any) -> Any:
    rate = octl.lr.follow(octl.schedules.cosine(20))
    return octl.replay(
        octl.together(rate=rate, guard=octl.guard("loss")), {"loss": losses}
    )


@given(refused=st.lists(st.booleans(), min_size=30, max_size=30))
def test_counts_the_accepted_steps(refused: list[bool]) -> None:
    losses = np.where(refused, np.nan, 1.0).astype(np.float32)
    decisions = guarded(losses).decisions
    accepted = np.concatenate([[0], np.cumsum(~np.array(refused))[:-1]])
    left = 1 - np.minimum(accepted, 20) / 20
    expected = np.sin(np.pi / 2 * left) ** 2
    np.testing.assert_allclose(decisions.lr_scale, expected, rtol=1e-5, atol=1e-7)


def test_story() -> None:
    """Two steps of warm-up, then four of decay; the gauge shows the factor."""
    schedule = octl.schedules.warmup(octl.schedules.cosine(4), 2)
    result = octl.replay(octl.lr.follow(schedule), {"loss": np.ones(8)})
    scale = [0, 0.5, 1, 0.853553, 0.5, 0.146447, 0, 0]
    np.testing.assert_allclose(result.decisions.lr_scale, scale, atol=1e-6)
    np.testing.assert_array_equal(result.gauges["scale"], result.decisions.lr_scale)


@pytest.mark.parametrize("accepted", [2**24 + 1, 2**31 - 1])
def test_the_step_stays_an_integer(accepted: int) -> None:
    seen = []
    c = octl.lr.follow(lambda step: seen.append(step) or 1.0)
    c.update({"accepted": jnp.int32(accepted)}, c.init())
    assert [(step.dtype, int(step)) for step in seen] == [("int32", accepted)]


def test_a_broken_schedule_is_passed_on_for_control_to_refuse() -> None:
    c = octl.lr.follow(lambda step: jnp.nan)
    decision, state = c.update({"accepted": 3}, c.init())
    assert np.isnan(decision.lr_scale)
    decision, _ = octl.lr.follow(lambda step: 0.5).update({"accepted": 4}, state)
    assert decision.lr_scale == 0.5


@pytest.mark.parametrize("schedule", [0.1, None, "cosine"])
def test_a_schedule_must_be_a_function(schedule: Any) -> None:
    with pytest.raises(
        TypeError, match=r"`lr.follow\(schedule=...\)` must be a function"
    ):
        octl.lr.follow(schedule)
