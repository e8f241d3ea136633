"""`replay` decides what a live run would have decided."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, gradients, scripted, stepper

RANDOM = np.random.default_rng(0)
LOSSES = np.exp(RANDOM.normal(0, 0.3, 120)).astype(np.float32)
LOSSES[[7, 60]] = np.nan, 1e4


def live(tx: Any, rows: list[dict[str, Any]], observed: tuple[str, ...] = ()) -> Any:
    step, state, seen = stepper(tx), tx.init(PARAMS), []
    for row in rows:
        now = {k: v for k, v in row.items() if k in observed and v is not None}
        state = octl.observe(state, **now) if now else state
        rest = {k: v for k, v in row.items() if k not in observed}
        _, state = step(gradients(0), state, PARAMS, **rest)
        seen.append(jax.device_get(octl.last_decision(state)))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *seen)


def assert_same(a: Any, b: Any) -> None:
    for field in ("skip", "rewind", "alarm"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    for field in ("lr_scale", "clip_norm"):
        np.testing.assert_allclose(getattr(a, field), getattr(b, field), rtol=1e-6)


def test_it_decides_what_control_decided_refused_steps_and_schedules_included() -> None:
    controller = octl.together(
        guard=octl.guard("loss"),
        spike=octl.respond(octl.watch.spike(4.0), skip=True, lr_scale=0.5, recover=5),
        rate=octl.lr.plateau(5, monitor="loss", factor=0.5),
        follow=octl.lr.follow(octl.schedules.cosine(100)),
        stop=octl.stop.patience(9, monitor="loss"),
    )
    control = live(
        octl.control(optax.sgd(0.1), controller), [{"value": loss} for loss in LOSSES]
    )
    replayed = octl.replay(controller, {"loss": LOSSES}).decisions
    assert_same(replayed, control)
    assert 0 < np.sum(control.skip) < len(LOSSES)
    # `control` latches a stop, and a replay shows the level.
    latched = np.bitwise_or.accumulate(np.asarray(replayed.stop))
    np.testing.assert_array_equal(latched, control.stop)


def test_a_mask_says_what_was_measured() -> None:
    controller = octl.together(
        stop=octl.stop.patience(4),
        rate=octl.lr.plateau(2, factor=0.5),
        spike=octl.respond(octl.watch.spike(), skip=True),
    )
    mask = np.arange(len(LOSSES)) % 5 == 3
    rows = [
        {"value": loss, "val_loss": loss if now else None}
        for loss, now in zip(LOSSES, mask, strict=True)
    ]
    tx: Any = octl.control(optax.sgd(0.1), controller, observed=("val_loss",))
    replayed = octl.replay(
        controller, {"loss": LOSSES, "val_loss": LOSSES}, {"val_loss": mask}
    )
    assert_same(replayed.decisions, live(tx, rows, ("val_loss",)))


def test_what_was_not_measured_does_not_matter() -> None:
    mask = np.arange(len(LOSSES)) % 3 == 0
    results = [
        octl.replay(octl.stop.patience(4), {"val_loss": x}, {"val_loss": mask})
        for x in (LOSSES, np.where(mask, LOSSES, np.nan))
    ]
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_without_a_mask_nan_was_measured() -> None:
    gone = octl.replay(octl.stop.patience(2), {"val_loss": [1.0, np.nan, np.nan]})
    assert list(gone.decisions.stop) == [0, 0, octl.StopReason.PATIENCE]


def test_events_are_not_repeated_where_nothing_was_measured() -> None:
    rules = scripted(skip="x", lr_scale="x")
    found = octl.replay(rules, {"x": [1.0, 1.0, 1.0]}, {"x": [True, False, True]})
    assert list(found.decisions.skip) == [True, False, True]
    assert list(found.decisions.lr_scale) == [1, 1, 1]


def test_counts_may_be_given() -> None:
    follow = octl.lr.follow(lambda step: 1.0 * step)
    counted = octl.replay(follow, {"loss": [0.0, 0.0, 0.0]})
    given = octl.replay(follow, {"accepted": [5, 6, 2**24 + 1]})
    assert list(counted.decisions.lr_scale) == [0, 1, 2]
    assert list(given.decisions.lr_scale)[:2] == [5, 6]


def test_policies_are_swept_by_vmap() -> None:
    def stops(updates: Any) -> Any:
        controller = octl.stop.patience(updates, monitor="loss")
        return jnp.argmax(octl.replay(controller, {"loss": LOSSES}).decisions.stop != 0)

    swept = jax.vmap(stops)(jnp.arange(1, 6))
    np.testing.assert_array_equal(swept, [stops(n) for n in range(1, 6)])


@pytest.mark.parametrize("length", [0, 1])
def test_the_shortest_series(length: int) -> None:
    result = octl.replay(octl.stop.patience(1), {"val_loss": np.ones(length)})
    assert result.decisions.stop.shape == (length,)
