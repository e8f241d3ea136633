"""The program of `optaxctl demo`: examples/digits_nnx.py, as a function of its seed.

A test runs both and demands the same numbers of them.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optaxctl as octl

BATCH = 64
CORRUPTED = (2, 5)
"""The epoch and the batch in it, both counted from 0, that is NaN throughout."""


class Program(NamedTuple):
    """What the loop needs, and what is left to do after it."""

    step: Callable[[Any, Any], None]
    carry: tuple[nnx.Module, nnx.Optimizer]
    batches: Callable[[int], Iterator[Any]]
    evaluate: Callable[[Any], dict[str, Any]]
    corrupted: int  # the step, counted from 1, whose batch is NaN throughout
    test_accuracy: Callable[[Any], float]  # of a model's parameters, in percent


def build(*, seed: int, epochs: int) -> Program:
    """Returns the program before its first step."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    x, test_x, y, test_y = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=1
    )
    x, val_x, y, val_y = train_test_split(
        x, y, test_size=240, stratify=y, random_state=1
    )
    steps = len(x) // BATCH

    def batches(epoch: int) -> Iterator[Any]:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(x))
        for n in range(steps):
            chosen = order[n * BATCH : (n + 1) * BATCH]
            noise = 0.2 * rng.standard_normal((BATCH, 64), np.float32)
            corrupted = (epoch, n) == CORRUPTED
            yield x[chosen] + (np.nan if corrupted else noise), y[chosen]

    def evaluate(carry: Any) -> dict[str, Any]:
        loss, accuracy = _measure(carry[0], val_x, val_y)
        return {"val_loss": loss, "val_accuracy": accuracy}

    model = _model(seed)
    optimizer = nnx.Optimizer(model, _control(epochs, steps), wrt=nnx.Param)

    def test_accuracy(params: Any) -> float:
        nnx.update(model, params)
        return float(_measure(model, test_x, test_y)[1])

    return Program(
        step=_step,
        carry=(model, optimizer),
        batches=batches,
        evaluate=evaluate,
        corrupted=CORRUPTED[0] * steps + CORRUPTED[1] + 1,
        test_accuracy=test_accuracy,
    )


def _model(seed: int) -> nnx.Sequential:
    rngs = nnx.Rngs(seed)
    return nnx.Sequential(
        nnx.Linear(64, 256, rngs=rngs),
        nnx.relu,
        nnx.Linear(256, 256, rngs=rngs),
        nnx.relu,
        nnx.Linear(256, 10, rngs=rngs),
    )


def _control(epochs: int, steps: int) -> octl.Control:
    course = octl.schedules.cosine((epochs - 2) * steps)
    controller = octl.together(
        schedule=octl.lr.follow(octl.schedules.warmup(course, 2 * steps)),
        plateau=octl.lr.plateau(4, factor=0.5, monitor="val_loss"),
        clip=octl.clip.zscore(),
        guard=octl.guard(),
        stop=octl.stop.patience(10, monitor="val_loss"),
    )
    adamw = octl.inject(optax.adamw, learning_rate=3e-3)
    return octl.control(adamw, controller, observed=("val_loss",))


@nnx.jit
def _step(carry: Any, batch: Any) -> None:
    model, optimizer = carry
    images, labels = batch

    def loss(model: Any) -> Any:
        targets = optax.smooth_labels(jnp.eye(10)[labels], 0.1)
        return optax.softmax_cross_entropy(model(images), targets).mean()

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads, value=value)


@nnx.jit
def _measure(model: Any, images: Any, labels: Any) -> tuple[Any, Any]:
    logits = model(images)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, 100 * (logits.argmax(-1) == labels).mean()
