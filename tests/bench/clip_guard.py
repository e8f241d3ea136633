"""What saves a run from a fault: `python -m tests.bench.clip_guard [--json]`.

A small network learns scikit-learn's digits while something goes wrong. A fault counts
if it breaks the unprotected run in at least 90 % of the seeds; what does not is benign,
and must stay so. A run has recovered if all of it is finite and its held-out loss is at
most 1.2 times that of the healthy, unprotected run of the same seed.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import optaxctl as octl
from tests.bench._protocol import Report, progress

SEEDS, STEPS, BATCH, AT = 20, 600, 32, 300
RECOVERED, BROKEN, ADMITTED = 1.2, 1.5, 0.9
DECAY = 120  # the last steps, in which the supervised rate falls to 0
BEYOND = {
    "init x20": "the network must be initialised anew",
    "inputs x255": "the inputs must be normalised",
    "rate x1000 for 20 steps": "the run is too short to give the cuts back",
}
RATES = {"adam": 1e-3, "sgd": 0.1, "momentum": 0.01}
FACTORIES = {
    "adam": optax.adam,
    "sgd": optax.sgd,
    "momentum": lambda learning_rate: optax.sgd(learning_rate, momentum=0.9),
}


class Fault(NamedTuple):
    """What goes wrong, as numbers, so that all faults share one compiled program."""

    rate: np.ndarray  # factor of the learning rate, by accepted step
    scale: np.ndarray  # factor of the inputs, by step
    pixel: np.ndarray  # added to one pixel, by step
    wrong: np.ndarray  # share of labels that are random, by step
    init: Any  # factor of the initial weights
    added: np.ndarray  # to every gradient, by step


def fault(**changes: Any) -> Fault:
    steps = np.arange(STEPS)
    neutral = {"rate": 1.0, "scale": 1.0, "pixel": 0.0, "wrong": 0.0, "added": 0.0}
    table = {
        name: np.asarray(
            [changes.get(name, lambda t, v=value: v)(t) for t in steps], np.float32
        )
        for name, value in neutral.items()
    }
    return Fault(init=np.float32(changes.get("init", 1.0)), **table)


def between(low: int, high: int, bad: float, good: float = 1.0) -> Callable[[int], Any]:
    return lambda t: bad if low <= t < high else good


def always(value: float) -> Callable[[int], Any]:
    return lambda t: value


HEALTHY = fault()
FAULTS: dict[str, dict[str, Fault]] = {
    "adam": {
        "inf pixel": fault(pixel=between(AT, AT + 1, np.inf, 0)),
        "inf pixel in the first step": fault(pixel=between(0, 1, np.inf, 0)),
        "NaN in every 20th batch": fault(pixel=lambda t: np.nan if t % 20 == 3 else 0),
        "10 NaN batches in a row": fault(pixel=between(AT, AT + 10, np.nan, 0)),
        "inf in the gradient": fault(added=between(AT, AT + 1, np.inf, 0)),
        "gradient of 1e30": fault(added=between(AT, AT + 1, 1e30, 0)),
        "rate x1000 from step 300": fault(rate=between(AT, STEPS, 1e3)),
        "rate x1000 for 20 steps": fault(rate=between(AT, AT + 20, 1e3)),
        "rate x1000 for 1 step": fault(rate=between(AT, AT + 1, 1e3)),
        "rate x300": fault(rate=always(300.0)),
        "rate x30": fault(rate=always(30.0)),
        "init x20": fault(init=20.0),
        "inputs x1e3 for 1 step": fault(scale=between(AT, AT + 1, 1e3)),
        "inputs x1e3 for 20 steps": fault(scale=between(AT, AT + 20, 1e3)),
        "random labels for 1 step": fault(wrong=between(AT, AT + 1, 1.0, 0)),
        "random labels for 20 steps": fault(wrong=between(AT, AT + 20, 1.0, 0)),
    },
    "sgd": {
        "rate 10": fault(rate=always(100.0)),
        "rate x1000 from step 300": fault(rate=between(AT, STEPS, 1e3)),
        "inf pixel": fault(pixel=between(AT, AT + 1, np.inf, 0)),
        "inputs x255": fault(scale=always(255.0)),
        "inputs x1e3 for 20 steps": fault(scale=between(AT, AT + 20, 1e3)),
        "init x20": fault(init=20.0),
    },
    "momentum": {
        "rate 2": fault(rate=always(200.0)),
        "rate 0.5": fault(rate=always(50.0)),
        "rate x1000 from step 300": fault(rate=between(AT, STEPS, 1e3)),
        "inputs x1e3 for 20 steps": fault(scale=between(AT, AT + 20, 1e3)),
    },
}


def unprotected(kind: str, rate: Any) -> Any:
    return FACTORIES[kind](rate)


def clipped(kind: str, rate: Any) -> Any:
    return optax.chain(optax.clip_by_global_norm(1.0), FACTORIES[kind](rate))


def finite(kind: str, rate: Any) -> Any:
    return optax.apply_if_finite(FACTORIES[kind](rate), 5)


def skipping(kind: str, rate: Any) -> Any:
    """The rule of OLMo and MaxText, without what one NaN does to it there."""
    return octl.control(FACTORIES[kind](rate), octl.skip_spikes())


def zclipped(kind: str, rate: Any) -> Any:
    clip = octl.clip.zscore(limit="adaptive", max_norm=1.0)
    return octl.control(FACTORIES[kind](rate), clip)


def ours(kind: str, rate: Any) -> Any:
    """`supervise` and `lr.search`, for a rate that falls at the end as rates should."""
    decay = lambda step: jnp.clip((STEPS - step) / DECAY, 0, 1)
    inner = octl.inject(
        FACTORIES[kind], learning_rate=lambda step: rate(step) * decay(step)
    )
    # There are updates to spare, so the rate may rise slowly, as the docstring says.
    search = octl.lr.search(200, trial=100, fall=0.3, factor=1.08, back_off=0.25)
    return octl.supervise(inner, search, snapshots=octl.Snapshots(every=20))


METHODS: dict[str, Callable[[str, Any], Any]] = {
    "nothing": unprotected,
    "clip_by_global_norm(1)": clipped,
    "apply_if_finite(5)": finite,
    "OLMo, MaxText": skipping,
    "ZClip": zclipped,
    "ours": ours,
}


def digits() -> tuple[Any, Any]:
    """Training and held-out images and labels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = (images / 16).astype(np.float32)[order], labels[order]
    labels = labels.astype(np.int32)
    return (images[:1297], labels[:1297]), (images[1297:], labels[1297:])


def network(key: Any, scale: Any) -> Any:
    sizes = (64, 64, 64, 10)
    keys = jax.random.split(key, 3)
    return [
        (scale * np.sqrt(2 / a) * jax.random.normal(k, (a, b)), jnp.zeros(b))
        for k, a, b in zip(keys, sizes, sizes[1:], strict=False)
    ]


def loss_fn(params: Any, images: Any, labels: Any) -> Any:
    x = images
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    logits = x @ params[-1][0] + params[-1][1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train(
    method: Callable[[str, Any], Any], kind: str, data: Any
) -> Callable[[Any, Fault], tuple[Any, Any]]:
    """Returns a function of a key and a fault: the held-out loss, and if all is finite.

    A non-finite loss of a batch does not count, as the batch may be what is broken.
    """
    (images, labels), held_out = data

    def run(key: Any, fault: Fault) -> tuple[Any, Any]:
        keys = jax.random.split(key, 3)
        params = network(keys[0], fault.init)
        rate = lambda step: RATES[kind] * fault.rate[jnp.minimum(step, STEPS - 1)]
        tx = optax.with_extra_args_support(method(kind, rate))
        rows = jax.random.randint(keys[1], (STEPS, BATCH), 0, len(images))
        noise = jax.random.split(keys[2], STEPS)

        def step(carry: Any, row: Any) -> Any:
            params, state = carry
            rows, scale, pixel, wrong, added, key = row
            x = (images[rows] * scale).at[0, 0].add(pixel)
            draw, other = jax.random.split(key)
            random = jax.random.randint(draw, (BATCH,), 0, 10)
            mislabelled = jax.random.uniform(other, (BATCH,)) < wrong
            y = jnp.where(mislabelled, random, labels[rows])
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            grads = jax.tree.map(lambda g: g + added, grads)
            params, state = octl.apply_gradients(tx, grads, state, params, value=loss)
            return (params, state), None

        table = (rows, fault.scale, fault.pixel, fault.wrong, fault.added, noise)
        (params, _state), _ = jax.lax.scan(step, (params, tx.init(params)), table)
        leaves = jax.tree.leaves(params)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))
        return loss_fn(params, *held_out), finite

    return run


def measure(seeds: int, only: str | None) -> dict[tuple[str, str], dict[str, Any]]:
    """The held-out losses of every fault, by method."""
    data = jax.tree.map(jnp.asarray, digits())
    keys = jax.random.split(jax.random.key(0), seeds)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, faults in FAULTS.items():
        names = ["healthy", *faults]
        stacked = jax.tree.map(lambda *x: np.stack(x), HEALTHY, *faults.values())
        for name, method in METHODS.items():
            if only not in (None, name, "nothing") and name != "nothing":
                continue
            progress(f"{kind}: {name}")
            run = train(method, kind, data)
            both = jax.jit(jax.vmap(jax.vmap(run, (0, None)), (None, 0)))
            losses, finite = map(np.asarray, both(keys, stacked))
            losses = np.where(finite & np.isfinite(losses), losses, np.inf)
            for i, fault_name in enumerate(names):
                found.setdefault((kind, fault_name), {})[name] = losses[i]
    return found


def share(where: Any) -> float:
    return float(np.mean(where))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clip_guard")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", choices=METHODS, help="this and the unprotected run")
    options = parser.parse_args()
    report = Report("clip_guard")
    found = measure(options.seeds, options.only)
    own = options.only or "ours"
    admitted, benign, beyond = [], [], []
    for (kind, name), losses in found.items():
        healthy = found[kind, "healthy"]["nothing"]
        broken = share(~(losses["nothing"] <= BROKEN * healthy))
        row: dict[str, Any] = {"fault": f"{kind}: {name}", "breaks": broken}
        for method, loss in losses.items():
            # A benign fault may cost what it costs the unprotected run.
            base = healthy if broken >= ADMITTED else losses["nothing"]
            row[method] = share(loss <= RECOVERED * base)
        if broken < ADMITTED:
            benign.append(row)
        elif name in BEYOND:
            beyond.append({**row, "why": BEYOND[name]})
        else:
            admitted.append(row)
    report.table("recovered, of runs that break unprotected", admitted)
    report.table("likewise, beyond a step's control", beyond)
    report.table("unharmed, of runs that do not break", benign)
    for row in admitted:
        certain = any(word in row["fault"] for word in ("inf", "NaN", "x1000"))
        bound = 0.0 if certain else 0.05
        report.bound(f"not recovered, {row['fault']}", 1 - row[own], bound, "share")
    harmed = 1 - float(np.mean([row[own] for row in benign]))
    report.bound("harmed, mean of the benign", harmed, 0.01, "share")
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
