from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given

import optaxctl as octl
from optaxctl import StopReason
from tests.core.strategies import margins, tapes, updates
from tests.jitted import jitted


@partial(jitted, static_argnames="mode")
def replayed(v: Any, r: Any, updates: Any, **rule: Any) -> Any:
    stopper = octl.stop.overfitting(updates, **rule)
    return octl.replay(stopper, {"val_loss": v, "loss": r})


@pytest.mark.parametrize("mode", ["min", "max"])
@given(v=tapes(), r=tapes(), updates=updates, atol=margins, rtol=margins)
def test_matches_the_reference(
    v: Any, r: Any, updates: int, mode: str, atol: float, rtol: float
) -> None:
    result = replayed(v, r, updates, mode=mode, atol=atol, rtol=rtol)
    gap, wide = np.float32(0), 0
    for i in range(len(v)):
        if np.isfinite(v[i]) and np.isfinite(r[i]):
            gap = v[i] - r[i] if mode == "min" else r[i] - v[i]
            # Products with these margins are exact in float32.
            allowed = np.float32(atol) + np.float32(rtol) * abs(r[i])
            wide = wide + 1 if gap > allowed else 0
        assert result.gauges["gap"][i] == gap
        assert result.gauges["patience_left"][i] == max(updates - wide, 0)
        stop = StopReason.OVERFITTING if wide >= updates else 0
        assert result.decisions.stop[i] == stop


def test_story() -> None:
    """Wide from 1 on but for 3, which ends the row; at 5 one of the two is broken."""
    val_loss = np.array([2, 4, 4, 2, 4, 4, 4, 4], np.float32)
    loss = np.array([2, 2, 2, 2, 2, np.nan, 2, 3], np.float32)
    result = replayed(val_loss, loss, 2, mode="min", atol=0.0, rtol=0.5)
    np.testing.assert_array_equal(np.flatnonzero(result.decisions.stop), [2, 6])


def test_inside_control_both_are_observed() -> None:
    names = ("val_loss", "train_loss")
    stopper = octl.stop.overfitting(2, reference="train_loss")
    tx = octl.control(optax.sgd(0.1), stopper, observed=names)
    params = jnp.ones(2)
    step = jax.jit(lambda g, s: tx.update(g, s, params, value=1.0)[1])
    state, stops = tx.init(params), []
    for i in range(5):
        if i % 2 == 0:
            state = octl.observe(state, val_loss=2.0, train_loss=1.0)
        state = step(params, state)
        stops.append(octl.read(state).stop)
    assert stops == [(), (), *[("overfitting",)] * 3]


def test_a_loss_of_every_step_is_refused() -> None:
    with pytest.raises(ValueError, match="`loss` in every step and `val_loss` only"):
        octl.control(optax.sgd(0.1), octl.stop.overfitting(), observed=("val_loss",))


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"atol": -1.0}, {"mode": "low"}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`stop.overfitting\({name}=...\)` must be"):
        octl.stop.overfitting(**wrong)
