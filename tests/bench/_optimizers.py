"""The optimizers that are compared, and the programs they are compared in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

import optaxctl as octl
from tests.bench._models import Job

RATE = 1e-3
METRICS = tuple(f"metric_{i}" for i in range(8))  # with the computed ones, a dozen


class Optimizer(NamedTuple):
    """`step(grads, state, params, signals) -> (params, state)`; update and apply."""

    init: Callable[[Any], Any]
    step: Callable[..., tuple[Any, Any]]
    controlled: bool


def optimizers() -> dict[str, Optimizer]:
    """Bare AdamW first, then what Optax offers, then the three forms of control."""
    clip = optax.clip_by_global_norm(1.0)
    plateau = optax.contrib.reduce_on_plateau(patience=1_000)
    chain = optax.chain(clip, optax.adamw(RATE), plateau)
    injected = octl.inject(optax.adamw, learning_rate=RATE)
    return {
        "bare": _optimizer(optax.adamw(RATE)),
        "clip": _optimizer(optax.chain(clip, optax.adamw(RATE))),
        "nearest": _optimizer(optax.apply_if_finite(chain, 1_000)),
        "I": _controlled(injected),
        "C": _controlled(optax.adamw(RATE)),
        "A": _controlled(optax.adamw(RATE), apply=True),
    }


def with_snapshots() -> dict[str, Optimizer]:
    """Bare AdamW, and control that can go back within the step."""
    every = octl.Snapshots(every=1_000)
    injected = octl.inject(optax.adamw, learning_rate=RATE)
    return {
        "bare": _optimizer(optax.adamw(RATE)),
        "I": _controlled(injected, snapshots=every),
        "I, applied": _controlled(injected, snapshots=every, apply=True),
        "A": _controlled(optax.adamw(RATE), snapshots=every, apply=True),
    }


def keeping(rows: int) -> Optimizer:
    """Control that keeps the rows of the last steps in its state."""
    return _controlled(octl.inject(optax.adamw, learning_rate=RATE), rows=rows)


def signals() -> dict[str, jax.Array]:
    """Scalars as a step would hand them over."""
    return {name: jnp.float32(1) for name in ("value", *METRICS)}


def updating(optimizer: Optimizer) -> Callable[..., Any]:
    """The program that updates and applies, with the gradients given."""

    def update(params: Any, state: Any, grads: Any, signals: Any) -> Any:
        return optimizer.step(grads, state, params, signals)

    return update


def stepping(optimizer: Optimizer, job: Job) -> Callable[..., Any]:
    """The program of a whole training step."""

    def step(params: Any, state: Any, batch: Any, signals: Any) -> Any:
        loss, grads = jax.value_and_grad(job.loss)(params, batch)
        signals = {**signals, "value": loss}
        return *optimizer.step(grads, state, params, signals), loss

    return step


def _controller() -> octl.Controller:
    return octl.together(
        guard=octl.guard(),
        spike=octl.respond(octl.watch.spike(), skip=True),
        clip=octl.clip.zscore(),
        rate=octl.lr.plateau(1_000, monitor="loss"),
        stop=octl.stop.patience(10),
    )


def _controlled(inner: Any, *, apply: bool = False, **options: Any) -> Optimizer:
    tx = octl.control(
        inner, _controller(), observed=("val_loss",), record=METRICS, **options
    )
    if not apply:
        return _optimizer(tx, controlled=True)

    def step(grads: Any, state: Any, params: Any, signals: Any) -> Any:
        return octl.apply_gradients(tx, grads, state, params, **signals)

    return Optimizer(tx.init, step, True)


def _optimizer(
    tx: optax.GradientTransformation, *, controlled: bool = False
) -> Optimizer:
    tx = optax.with_extra_args_support(tx)

    def step(grads: Any, state: Any, params: Any, signals: Any) -> Any:
        known = signals if controlled else {"value": signals["value"]}
        updates, state = tx.update(grads, state, params, **known)
        return optax.apply_updates(params, updates), state

    return Optimizer(tx.init, step, controlled)
