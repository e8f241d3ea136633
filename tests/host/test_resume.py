"""A resumed run is the same run: what other libraries lose between two processes."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxctl as octl
from tests.host.test_checkpoint import assert_same_bits

STEPS = 24
TRACES: list[None] = []


SCHEDULE = octl.schedules.warmup(octl.schedules.cosine_restarts(7, init_value=0.1), 3)
TX = octl.control(
    octl.inject(optax.adam, learning_rate=SCHEDULE),
    octl.together(
        rate=octl.lr.plateau(2, factor=0.5, monitor="val_loss"),
        stop=octl.stop.patience(9, monitor="val_loss"),
        guard=octl.guard(),
    ),
    observed=("val_loss",),
)


def started() -> Any:
    w = jnp.linspace(-1, 1, 5)
    return w, TX.init(w)


@jax.jit
def step(run: Any, target: Any) -> Any:
    TRACES.append(None)
    w, state = run
    loss, grad = jax.value_and_grad(lambda w: jnp.sum((w - target) ** 2))(w)
    return octl.apply_gradients(TX, grad, state, w, value=loss)


def trained(run: Any, first: int, last: int, rates: list[float | None]) -> Any:
    """Steps, with an evaluation after every third and a broken batch at 10."""
    for n in range(first, last):
        run = step(run, jnp.float32(np.nan if n == 10 else n / STEPS))
        if n % 3 == 2:
            run = octl.observe(run, val_loss=jnp.float32(1.0))
        rates.append(octl.read(run).learning_rate)
    return run


def through_disk(run: Any, directory: Path) -> Any:
    with octl.checkpoint.Checkpoints(directory) as checkpoints:
        checkpoints.save(1, {"run": run})
    with octl.checkpoint.Checkpoints(directory) as checkpoints:
        return checkpoints.restore({"run": started()})[0]["run"]


def test_wherever_it_is_cut_rates_counts_and_moments_go_on(tmp_path: Path) -> None:
    rates: list[float | None] = []
    whole = trained(started(), 0, STEPS, rates)
    assert len(set(rates)) > STEPS / 2  # it moves, so a rate out of step would show
    # Before an evaluation counts (3, 9), in a cooldown, at the refused step (11).
    for cut in (0, 3, 9, 11, 17):
        again: list[float | None] = []
        run = trained(started(), 0, cut, again)
        run = trained(through_disk(run, tmp_path / str(cut)), cut, STEPS, again)
        assert again == rates
        assert_same_bits(run, whole)
    assert len(TRACES) == 1


def test_an_evaluation_that_no_step_has_seen_yet_counts_once(tmp_path: Path) -> None:
    run = octl.observe(step(started(), jnp.float32(0.5)), val_loss=jnp.float32(2.0))
    run = through_disk(run, tmp_path)
    seen = [octl.read(run := step(run, jnp.float32(0.5))).gauges for _ in range(3)]
    assert [gauges["stop/to_beat"] for gauges in seen] == [2.0] * 3
    assert [gauges["stop/stale"] for gauges in seen] == [0] * 3


def test_containers_come_back_as_what_they_were(tmp_path: Path) -> None:
    tree = {
        "list": [jnp.ones(1), (jnp.zeros(2), None)],
        "whole numbers": {0: jnp.ones(1), 10: jnp.zeros(1), 9: jnp.full(1, 9)},
        "state": optax.adam(0.1).init(jnp.ones(3)),
    }
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree)
        found, _ = checkpoints.restore(jax.tree.map(jnp.zeros_like, tree))
    assert_same_bits(found, tree)
    assert isinstance(found["state"][0], optax.ScaleByAdamState)


def test_a_new_start_remembers_nothing() -> None:
    first = trained(started(), 0, 6, [])
    assert octl.read(first).step == 6
    assert_same_bits(started(), (jnp.linspace(-1, 1, 5), TX.init(first[0])))
    assert octl.read(TX.init(first[0])).gauges["stop/stale"] == 0
