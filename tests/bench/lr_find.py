"""How good `lr_find`'s suggestions are: `python -m tests.bench.lr_find [--json]`.

On scikit-learn's digits, for every mix of optimizer, depth, batch size and length of
the test: the loss at the end of 300 steps at the suggested rate. On noise alone: how
often a minimum is called clear.
"""

import argparse
import itertools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import optaxctl as octl
from tests.bench._protocol import Report, progress

SEEDS = 6
STEPS = 300  # of the run that follows
OPTIMIZERS = {
    "adamw": optax.adamw,
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "lion": optax.lion,
}
DEPTHS = (1, 2, 4)
TESTS = ((100, 64), (100, 16), (300, 32))  # steps and batch
RULES = ("minimum", "valley", "steep", "slide")
NOISE = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape),
    "skewed": lambda rng, shape: np.exp(rng.normal(size=shape)),
}


def mlp(key: Any, depth: int) -> Any:
    sizes = [64, *[128] * depth, 10]
    keys = jax.random.split(key, depth + 1)
    return [
        (jax.random.normal(k, (a, b)) * np.sqrt(2 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
    ]


def loss_fn(params: Any, batch: Any) -> Any:
    x, labels = batch
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    logits = x @ params[-1][0] + params[-1][1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train(params: Any, rate: Any, batches: Any, optimizer: Any) -> Any:
    tx = optimizer(rate)

    def step(carry: Any, batch: Any) -> Any:
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    losses = jax.lax.scan(step, (params, tx.init(params)), batches)[1]
    return jnp.nan_to_num(losses[-50:].mean(), nan=jnp.inf)


def digits() -> dict[str, list[float]]:
    """The losses of all clear tests, by the rule that chose the rate."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        rows = rng.integers(0, len(images), shape)
        return images[rows], labels.astype(np.int32)[rows]

    ends: dict[str, list[float]] = {rule: [] for rule in RULES}
    run = draw(STEPS, 64)
    keys = jax.random.split(jax.random.key(0), SEEDS)
    for (steps, batch), depth, name in itertools.product(TESTS, DEPTHS, OPTIMIZERS):
        progress(f"digits: {name}, {depth} layers, {steps} batches of {batch}")
        optimizer = OPTIMIZERS[name]
        params = jax.vmap(lambda key, d=depth: mlp(key, d))(keys)
        find = lambda p, b, o=optimizer: octl.lr_find(loss_fn, p, b, optimizer=o)
        found = jax.jit(jax.vmap(find))(params, draw(SEEDS, steps, batch))
        clear = np.asarray(found.clear)
        go = jax.jit(jax.vmap(lambda p, r, o=optimizer: train(p, r, run, o)))
        for rule in RULES:
            ends[rule] += np.asarray(go(params, getattr(found, rule)))[clear].tolist()
    return ends


def false_alarms(tests: int, steps: int = 100) -> dict[str, float]:
    """How often a loss of nothing but noise is called clear."""
    rng, rates = np.random.default_rng(0), {}
    find = lambda losses: octl.lr_find(lambda p, x: x + 0 * p, jnp.zeros(()), losses)
    for name, noise in NOISE.items():
        progress(f"noise: {name}")
        losses = noise(rng, (tests, steps)).astype(np.float32)
        rates[name] = float(np.mean(jax.jit(jax.vmap(find))(losses).clear))
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lr_find")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    report = Report("lr_find")
    ends = digits()
    tests = SEEDS * len(TESTS) * len(DEPTHS) * len(OPTIMIZERS)
    clear = len(ends["minimum"])
    rows = []
    for rule, losses in ends.items():
        median, most, worst = np.quantile(losses, (0.5, 0.95, 1.0), method="higher")
        row = {"rule": rule, "median": median, "95 % below": most, "worst": worst}
        rows.append(row)
    report.table(f"loss at the suggested rate, {clear} clear tests of {tests}", rows)
    noise = false_alarms(2000)
    report.table("share of noise called clear", [noise])
    report.bound("digits: tests that are not clear", 1 - clear / tests, 0.1, "share")
    report.bound("digits: worst loss at the minimum's rate", rows[0]["worst"], 0.5, "")
    report.bound("noise called clear", max(noise.values()), 0.01, "share")
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
