"""One controlled run, the same in every front end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.frontends.conftest import X, Y

BAD = X.at[0, 0].set(jnp.nan)

INNERS = {
    "injected": octl.inject(optax.adamw, learning_rate=0.05),
    "ready-made": optax.adamw(0.05),
}


def optimizer(inner="injected"):
    controller = octl.together(
        guard=octl.guard(),
        clip=octl.clip.zscore(warmup_updates=3),
        rate=octl.lr.plateau(2, factor=0.5),
        stop=octl.stop.patience(4),
    )
    return octl.control(INNERS[inner], controller, observed=("val_loss",))


def control_state(tree):
    is_state = lambda x: isinstance(x, octl.ControlState)
    (state,) = filter(is_state, jax.tree.leaves(tree, is_leaf=is_state))
    return state


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("inner", INNERS)
def test_a_run_learns_and_a_bad_batch_leaves_no_trace(start, inner):
    run = start(optimizer(inner))
    state = run.state
    for _ in range(5):
        state = run.step(state, X, Y)
    before = bits(run.params(state)), bits(control_state(state).inner)
    early = octl.read(state)

    state = run.step(state, BAD, Y)
    after = bits(run.params(state)), bits(control_state(state).inner)
    refused = octl.read(state)
    for _ in range(20):
        state = run.step(state, X, Y)

    assert after == before
    assert (refused.refused, refused.skipped) == (1, True)
    assert refused.alarms == ("nonfinite_loss", "nonfinite_gradient")
    late = octl.read(state)
    assert (late.step, late.accepted, late.skipped) == (26, 25, False)
    assert late.signals["loss"] < 0.5 * early.signals["loss"]
    assert len(run.traces) == 1


def test_an_observed_metric_cuts_the_rate_and_stops_the_run_without_a_second_trace(
    start,
):
    run = start(optimizer())
    state = run.state
    seen = []
    for val_loss in (1.0, 1.0, 1.0, 1.0, 1.0):
        state = octl.observe(state, val_loss=val_loss)
        for _ in range(2):
            state = run.step(state, X, Y)
        reading = octl.read(state)
        seen.append((reading.lr_scale, reading.gauges["stop/patience_left"]))
    assert seen == [(1, 4), (1, 3), (0.5, 2), (0.5, 1), (0.25, 0)]
    assert octl.read(state).stop == ("patience",)
    assert octl.last_decision(state).stop == octl.StopReason.PATIENCE
    assert len(run.traces) == 1


def test_the_rate_is_set_by_hand_without_a_second_trace(start):
    run = start(optimizer())
    state = run.step(run.state, X, Y)
    assert octl.read(state).learning_rate == pytest.approx(0.05)
    state = run.step(octl.set_lr(state, 0.0), X, Y)
    before = bits(run.params(state))
    state = run.step(state, X, Y)
    assert bits(run.params(state)) == before
    assert octl.read(state).learning_rate == 0
    state = run.step(octl.set_lr(state, None), X, Y)
    assert octl.read(state).learning_rate == pytest.approx(0.05)
    assert bits(run.params(state)) != before
    assert len(run.traces) == 1
