"""What stopping costs and spares: `python -m tests.bench.stopping [--json]`.

32 seeds of an MLP on digits, each with a patience of its own, as a population, as 32
compiled runs, and as Python loops. The bytes and leaves that a check adds to a step.
Beside them what every rule would have done to recorded runs.
"""

import argparse
import concurrent.futures
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import optaxctl as octl
from tests.bench import _curves
from tests.bench._programs import Program
from tests.bench._protocol import Report, paired, progress

LANES, MAX_EPOCHS, BATCH, TRAIN, PATIENCE = 32, 60, 64, 1400, 3
ROUNDS = {"small": 9, "large": 3}
CHUNKS = (2, 8)
THREADS = os.cpu_count() or 1


class Task(NamedTuple):
    """An MLP on digits; an epoch is one update of the stopper."""

    init: Callable[[Any], Any]
    train: Callable[[Any, Any], Any]  # ((params, opt_state), rows) -> the same, loss
    value: Callable[[Any], Any]
    epoch: Callable[[Any], Any]


def task(sizes: tuple[int, ...], learning_rate: float) -> Task:
    images, labels = load_digits(return_X_y=True)
    x, y = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels, jnp.int32)
    tx = optax.adam(learning_rate)

    def init(key: Any) -> Any:
        key, *keys = jax.random.split(key, len(sizes))
        shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
        params = [jax.random.normal(k, (a, b)) * (2 / a) ** 0.5 for k, a, b in shapes]
        return key, (params, tx.init(params))

    def loss(params: Any, x: Any, y: Any) -> Any:
        for w in params[:-1]:
            x = jax.nn.relu(x @ w)
        logits = x @ params[-1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def train(carry: Any, rows: Any) -> Any:
        params, opt_state = carry
        error, grads = jax.value_and_grad(loss)(params, x[rows], y[rows])
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), error

    def value(params: Any) -> Any:
        return loss(params, x[TRAIN:], y[TRAIN:])

    def epoch(state: Any) -> Any:
        key, carry = state
        key, rows = batches(key)
        carry, _ = jax.lax.scan(train, carry, rows)
        return (key, carry), {"val_loss": value(carry[0])}

    return Task(init, train, value, epoch)


def batches(key: Any) -> Any:
    key, shuffle = jax.random.split(key)
    order = jax.random.permutation(shuffle, TRAIN)
    return key, order[: TRAIN // BATCH * BATCH].reshape(-1, BATCH)


def python_loop(job: Task, *, every_step: bool) -> Callable[[Any], list[int]]:
    """The loop that people write: a compiled step, and a check on the host.

    With `every_step` the host looks at every step, as a check for NaN does.
    """
    init, step, value = jax.jit(job.init), jax.jit(job.train), jax.jit(job.value)
    shuffled = jax.jit(batches)

    def run(key: Any) -> int:
        key, carry = init(key)
        best, stale = np.inf, 0
        for epoch in range(MAX_EPOCHS):
            key, rows = shuffled(key)
            for row in np.asarray(rows):
                carry, error = step(carry, row)
                if every_step and not np.isfinite(error):
                    return epoch
            loss = float(value(carry[0]))
            best, stale = (loss, 0) if loss < best else (best, stale + 1)
            if stale == PATIENCE:
                return epoch + 1
        return MAX_EPOCHS

    return lambda keys: [run(key) for key in keys]


def ways(job: Task) -> dict[str, Callable[[Any], Any]]:
    """All ways to train the lanes; each returns the epochs at which they ended."""
    stopper = octl.stop.patience(PATIENCE)
    run = octl.until(job.epoch, stopper, max_updates=MAX_EPOCHS)
    single = jax.jit(lambda key: run(job.init(key)))

    def one_by_one(keys: Any) -> list[int]:
        ended = jax.block_until_ready([single(key) for key in keys])
        return [int(run.updates) for run in ended]

    def population(by: Any) -> Callable[[Any], list[int]]:
        train = octl.population(
            job.init, job.epoch, stopper, max_updates=MAX_EPOCHS, by=by
        )
        return lambda keys: jax.block_until_ready(train(keys)).updates.tolist()

    def in_threads(keys: Any) -> list[int]:
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            parts = pool.map(mapped, [keys[i::THREADS] for i in range(THREADS)])
        ended = np.zeros(LANES, np.int32)
        for i, part in enumerate(parts):
            ended[i::THREADS] = part
        return ended.tolist()

    mapped = population("map")
    return {
        "one by one, compiled": one_by_one,
        "map": mapped,
        f"map, {THREADS} threads": in_threads,
        "vmap": population("vmap"),
        **{f"chunks of {n}": population(n) for n in CHUNKS},
    }


def loops(job: Task) -> dict[str, Callable[[Any], list[int]]]:
    return {
        "Python loops, host check per epoch": python_loop(job, every_step=False),
        "Python loops, host check per step": python_loop(job, every_step=True),
    }


def populations(report: Report, name: str, job: Task, rounds: int) -> None:
    progress(f"{name}: {LANES} seeds")
    keys = jax.random.split(jax.random.key(0), LANES)
    runs = ways(job) | (loops(job) if name == "small" else {})
    variants = {way: (lambda run=run: run(keys)) for way, run in runs.items()}
    ended = {way: run() for way, run in variants.items()}  # and compiles
    first = ended["one by one, compiled"]
    same = {way: int(np.sum(np.equal(ended[way], first))) for way in ended}
    times = paired(variants, rounds=rounds)
    report.table(
        f"{name}: {LANES} seeds, {np.mean(first):.1f} epochs each, "
        f"{min(first)} to {max(first)}",
        [
            {
                "way": way,
                "seconds": t.wall,
                "ratio": t.ratio,
                "q25": t.low,
                "q75": t.high,
                "cpu ratio": t.cpu_ratio,
                "same epochs": same[way],
            }
            for way, t in times.items()
        ],
    )
    together = [way for way in times if way.startswith(("map", "vmap", "chunks"))]
    best = min(together, key=lambda way: times[way].ratio)
    report.bound(f"{name}: {best} / one by one", times[best].ratio, 1.0)
    alike = min(same[way] for way in together)
    report.bound(f"{name}: lanes that end elsewhere", LANES - alike, 0, "count")
    if name == "small":
        ratio = times["map"].wall / times["Python loops, host check per step"].wall
        report.bound(f"{name}: map / Python loops, check per step", ratio, 1 / 3.5)


def checks(report: Report, job: Task) -> None:
    """What a rule of stopping adds to a step that trains."""
    progress("the cost of a check in the step")
    rules = {
        "none": None,
        "patience": octl.stop.patience(5, monitor="loss"),
        "early_stopping": octl.stop.early_stopping(monitor="loss").controller,
        "trend": octl.stop.trend(50, monitor="loss"),
        "any of three": octl.stop.any_of(
            patience=octl.stop.patience(5, monitor="loss"),
            target=octl.stop.target(0.0, monitor="loss"),
            budget=octl.stop.budget(1_000),
        ),
    }
    _, carry = job.init(jax.random.key(0))
    rows = jnp.arange(BATCH)
    table = []
    for name, rule in rules.items():

        def step(carry: Any, state: Any, rows: Any, rule: Any = rule) -> Any:
            carry, loss = job.train(carry, rows)
            if rule is None:
                return carry, state, loss
            decision, state = rule.update({"loss": loss}, state)
            return carry, state, loss, decision.stop

        state = () if rule is None else rule.init()
        program = Program(step, (carry, state, rows), donate=True)
        program.compile()
        figures = program.figures()
        table.append(
            {
                "rule": name,
                "kB": figures.bytes_accessed / 1e3,
                "added bytes": figures.bytes_accessed - 1e3 * table[0]["kB"]
                if table
                else 0.0,
                "kernels": figures.kernels,
                "leaves": len(jax.tree.leaves(state)),
                "effects": program.effects(),
            }
        )
    report.table("a step of the small net, with a check of the rule", table)
    bare, patience = table[0], table[1]
    report.bound("step with patience, bytes", patience["kB"] / bare["kB"], 1.001)
    report.bound("leaves of patience", patience["leaves"], 3, "count")
    effects = sum(row["effects"] for row in table)
    report.bound("effects and callbacks", effects, 0, "count")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stopping")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, help="rounds of every timing")
    parser.add_argument("--curves", type=Path, default=_curves.DIRECTORY, metavar="DIR")
    options = parser.parse_args()
    report = Report("stopping")
    small, large = task((64, 32, 10), 2e-2), task((64, 256, 256, 10), 1e-3)
    for name, job in {"small": small, "large": large}.items():
        populations(report, name, job, options.rounds or ROUNDS[name])
    checks(report, small)
    if rows := _curves.rows(options.curves):
        report.table("rules on recorded runs", rows)
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
