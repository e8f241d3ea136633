"""What a wrong rate costs: `python -m tests.bench.lr_sensitivity [--json]`.

Three tasks, Adam and SGD, learning rates of 10^-5 to 10^1, five seeds, each with the
gradient as it is and with noise in it, twice as long as the gradient itself. Every
method has one configuration for all of it. The held-out loss after the last step
counts, at most twice that of a uniform guess, which is what a broken run gets.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxctl as octl
from tests.bench._bounce import bounce
from tests.bench._protocol import Report, progress
from tests.bench._tasks import TASKS, Task

STEPS, SEEDS, RATES = 300, 5, np.logspace(-5, 1, 13)
NOISE = (0.0, 2.0)  # its norm, relative to the gradient's
OPTIMIZERS = {"adam": optax.adam, "sgd": optax.sgd}

Method = Callable[[Any, Any], Any]


def constant(factory: Any, rate: Any) -> Any:
    return factory(rate)


def cosine(factory: Any, rate: Any) -> Any:
    schedule = optax.cosine_decay_schedule(1.0, STEPS)
    return factory(lambda step: rate * schedule(step))


def one_cycle(factory: Any, rate: Any) -> Any:
    schedule = optax.cosine_onecycle_schedule(STEPS, 1.0)
    return factory(lambda step: rate * schedule(step))


def reduce_on_plateau(factory: Any, rate: Any) -> Any:
    plateau = optax.contrib.reduce_on_plateau(
        factor=0.5, patience=5, accumulation_size=10
    )
    return optax.chain(factory(rate), plateau)


def greedy(factory: Any, rate: Any) -> Any:
    rule = octl.lr.greedy(window=10, floor=1e-3, ceil=1e3)
    return octl.control(octl.inject(factory, learning_rate=rate), rule)


def adaptive(factory: Any, rate: Any) -> Any:
    rule = octl.lr.adaptive(STEPS)
    return octl.control(octl.inject(factory, learning_rate=rate), rule)


def automatic(factory: Any, rate: Any) -> Any:
    rule = octl.lr.automatic(STEPS)
    return octl.control(octl.inject(factory, learning_rate=rate), rule)


def abel(factory: Any, rate: Any) -> Any:
    return optax.chain(factory(rate), bounce())


def ours(factory: Any, rate: Any) -> Any:
    """The search, a linear decay that begins after two fifths."""
    decay = lambda step: jnp.clip((STEPS - step) / (0.6 * STEPS), 0, 1)
    controller = octl.together(
        guard=octl.guard(),
        search=octl.lr.search(),
        decay=octl.lr.follow(decay),
    )
    inner = octl.inject(factory, learning_rate=rate)
    return octl.control(inner, controller, snapshots=octl.Snapshots(every=20))


BASELINES: dict[str, Method] = {
    "constant": constant,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "reduce_on_plateau": reduce_on_plateau,
    "greedy": greedy,
}
METHODS = {
    **BASELINES,
    "ABEL's bounce": abel,
    "lr.adaptive": adaptive,
    "lr.automatic": automatic,
    "ours": ours,
}


def run(
    task: Task, factory: Any, method: Method, rate: Any, noise: Any, key: Any
) -> jax.Array:
    """The held-out loss after one run; traceable."""
    tx = optax.with_extra_args_support(method(factory, rate))
    params = task.init(key)

    def step(carry: Any, key: Any) -> Any:
        params, state = carry
        rows = jax.random.randint(key, (task.batch,), 0, len(task.train[0]))
        batch = (jnp.asarray(task.train[0])[rows], jnp.asarray(task.train[1])[rows])
        loss, grads = jax.value_and_grad(task.loss)(params, batch)
        grads = noisy(grads, noise, key)
        params, state = octl.apply_gradients(tx, grads, state, params, value=loss)
        return (params, state), None

    keys = jax.random.split(jax.random.fold_in(key, 1), STEPS)
    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), keys)
    return task.loss(params, task.held_out)


def noisy(grads: Any, noise: Any, key: Any) -> Any:
    """Adds normal noise whose norm is `noise` times that of the gradient."""
    leaves, tree = jax.tree.flatten(grads)
    size = sum(leaf.size for leaf in leaves)
    scale = noise * optax.global_norm(grads) / np.sqrt(size)
    keys = jax.random.split(jax.random.fold_in(key, 2), len(leaves))
    draws = [
        g + scale * jax.random.normal(k, g.shape)
        for g, k in zip(leaves, keys, strict=True)
    ]
    return tree.unflatten(draws)


def sweep(task: Task, factory: Any, method: Method) -> Any:
    """Held-out losses by noise, rate and seed, capped."""
    axes = (np.array(NOISE, np.float32), RATES.astype(np.float32), np.arange(SEEDS))
    grid = np.meshgrid(*axes, indexing="ij")
    one = lambda n, r, s: run(task, factory, method, r, n, jax.random.key(s))
    losses = jax.jit(jax.vmap(one))(*(axis.ravel() for axis in grid))
    cap = 2 * np.log(task.classes)
    losses = np.nan_to_num(np.asarray(losses, np.float64), nan=cap)
    return np.minimum(losses, cap).reshape(grid[0].shape)


def geometric(losses: Any) -> Any:
    return np.exp(np.mean(np.log(losses)))


def best(losses: Any) -> Any:
    """The mean over seeds at the best rate."""
    return losses.mean(-1).min()


def worst(losses: Any) -> Any:
    return losses.mean(-1).max()


SCORES = {"best": best, "geometric mean": geometric, "worst": worst}


def scored(losses: Any) -> dict[str, Any]:
    """Every score of losses by rate and seed, with 95 % of a bootstrap over seeds."""
    draws = np.random.default_rng(0).integers(0, SEEDS, (1000, SEEDS))
    row: dict[str, Any] = {}
    for name, score in SCORES.items():
        low, high = np.quantile([score(losses[:, d]) for d in draws], (0.025, 0.975))
        row |= {name: score(losses), f"{name} 95 %": f"{low:.3g}-{high:.3g}"}
    return row


def measured(names: Sequence[str]) -> dict[tuple[str, str, float], dict[str, Any]]:
    """Losses by rate and seed, for each task, optimizer and noise, of each method."""
    found: dict[tuple[str, str, float], dict[str, Any]] = {}
    for title, build in TASKS.items():
        task = build()
        for name, factory in OPTIMIZERS.items():
            for method in names:
                progress(f"{title}: {name}, {method}")
                for noise, losses in zip(
                    NOISE, sweep(task, factory, METHODS[method]), strict=True
                ):
                    found.setdefault((title, name, noise), {})[method] = losses
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lr_sensitivity")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    report = Report("lr_sensitivity")
    found = measured(list(METHODS))
    for (title, name, noise), methods in found.items():
        rows = [{"method": m, **scored(losses)} for m, losses in methods.items()]
        report.table(f"{title}, {name}, noise {noise:g}", rows)
    for title in TASKS:
        for noise in NOISE:
            cells = [v for k, v in found.items() if k[0] == title and k[2] == noise]
            lowest = {m: min(best(cell[m]) for cell in cells) for m in METHODS}
            ratio = lowest["ours"] / min(lowest[m] for m in BASELINES)
            report.bound(f"{title}, noise {noise:g}: best to best tuned", ratio, 1.01)
    means = {}
    for title in TASKS:
        cells = [v for k, v in found.items() if k[0] == title]
        means[title] = {m: geometric([cell[m] for cell in cells]) for m in METHODS}
        ratio = means[title]["ours"] / min(means[title][m] for m in BASELINES)
        report.bound(f"{title}: geometric mean to best baseline's", ratio, 0.8)
    report.table(
        "geometric mean over optimizers, noise, rates and seeds",
        [{"method": m, **{title: means[title][m] for title in TASKS}} for m in METHODS],
    )
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
