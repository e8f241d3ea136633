"""`until` ends at the first stop, and what has ended stays as it is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl

LANES, LENGTH = 64, 40
PATIENCE, BUDGET = int(octl.StopReason.PATIENCE), int(octl.StopReason.BUDGET)


def tapes() -> np.ndarray:
    """Losses that fall and stall, with NaN and infinities among them."""
    rng = np.random.default_rng(0)
    falls = np.exp(-np.arange(LENGTH) * rng.uniform(0, 0.3, (LANES, 1)))
    values = (falls + 0.1 * rng.normal(size=falls.shape)).astype(np.float32)
    broken = rng.random(values.shape) < 0.1
    values[broken] = rng.choice([np.nan, np.inf, -np.inf], broken.sum())
    values[0] = np.nan
    return values


def step(state: Any) -> Any:
    """Reads a tape; beside it a number and a key that any further step would change."""
    loss = state["tape"][state["i"]]
    chaos = 3.9 * state["chaos"] * (1 - state["chaos"])
    key = jax.random.split(state["key"])[0]
    moved = {"i": state["i"] + 1, "chaos": chaos, "key": key, "last": loss}
    return {**state, **moved}, {"loss": loss}


def begin(tape: Any) -> Any:
    return {
        "tape": tape,
        "i": jnp.int32(0),
        "chaos": jnp.float32(0.3),
        "key": jax.random.key(0),
        "last": jnp.float32(0),
    }


def ends(tape: np.ndarray, patience: Any, max_updates: int) -> tuple[int, int]:
    """When and why a run ends."""
    best, stale = np.inf, 0
    for i, x in enumerate(tape[:max_updates], 1):
        better = np.isfinite(x) and x < best
        best, stale = (x, 0) if better else (best, stale + 1)
        if stale >= patience:
            return i, PATIENCE
    return max_updates, BUDGET


def bits(lane: Any, ended: octl.Finished) -> list[bytes]:
    state = {**ended.state, "key": jax.random.key_data(ended.state["key"])}
    leaves = jax.tree.leaves(ended._replace(state=state))
    return [np.asarray(leaf[lane]).tobytes() for leaf in leaves]


def test_every_lane_ends_at_its_own_stop_and_then_stays_bit_for_bit() -> None:
    values, patience = tapes(), np.arange(LANES) % 7 + 1

    @jax.jit
    @jax.vmap
    def run(tape: Any, patience: Any, max_updates: Any) -> Any:
        stopper = octl.stop.patience(patience, monitor="loss")
        return octl.until(step, stopper, max_updates=max_updates)(begin(tape))

    found = {}
    for limit in (9, 12, LENGTH):
        found[limit] = run(values, patience, np.full(LANES, limit))
        expected = zip(
            *(ends(x, n, limit) for x, n in zip(values, patience, strict=True)),
            strict=True,
        )
        updates, stop = map(np.asarray, expected)
        np.testing.assert_array_equal(found[limit].updates, updates)
        np.testing.assert_array_equal(found[limit].stop, stop)
        np.testing.assert_array_equal(found[limit].state["i"], updates)
        np.testing.assert_array_equal(
            found[limit].gauges["patience_left"] == 0, stop == PATIENCE
        )
    early = np.flatnonzero(found[9].stop == PATIENCE)
    assert 10 < len(early) < LANES - 10
    for lane in early:
        assert (
            bits(lane, found[9]) == bits(lane, found[12]) == bits(lane, found[LENGTH])
        )


def test_a_controlled_optimizer_in_the_state_stops_the_run() -> None:
    control = octl.control(optax.sgd(0.1), octl.stop.patience(3, monitor="loss"))

    def train(state: Any) -> Any:
        w, opt_state = state
        loss = jnp.maximum((w - 1) ** 2, 0.25)
        grad = 2 * (w - 1)
        w, opt_state = octl.apply_gradients(control, grad, opt_state, w, value=loss)
        return (w, opt_state), {}

    run = jax.jit(octl.until(train, max_updates=50))
    ended = run((jnp.array(0.0), control.init(jnp.array(0.0))))
    assert (ended.updates, ended.stop) == (8, PATIENCE)
    # What has stopped already is not stepped again.
    again = run(ended.state)
    assert (again.updates, again.stop) == (0, PATIENCE)
    # A stopper beside it: whoever asks first.
    for own, end in ((2, 3), (20, 8)):
        both = octl.until(
            lambda state: (train(state)[0], {"loss": state[0]}),
            octl.stop.patience(own, monitor="loss"),
            max_updates=50,
        )
        ended = jax.jit(both)((jnp.array(0.0), control.init(jnp.array(0.0))))
        assert (ended.updates, ended.stop) == (end, PATIENCE)


@pytest.mark.parametrize(
    ("stopper", "words"),
    [
        (octl.lr.plateau(3, monitor="loss"), "carries out stop and alarm only"),
        (octl.stop.patience, "Did you forget to call it"),
        (octl.stop.patience(3, monitor="los"), r"not return \(.*loss.*mean `loss`"),
        (None, "nothing could ever ask to stop"),
    ],
)
def test_what_cannot_stop_the_run_is_refused(stopper: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        octl.until(step, stopper, max_updates=5)(begin(jnp.zeros(LENGTH)))


def test_no_updates_are_no_run() -> None:
    with pytest.raises(ValueError, match=r"until\(max_updates=...\)` must be >= 1"):
        octl.until(step, octl.stop.patience(1), max_updates=0)
