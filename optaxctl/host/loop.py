"""A training loop to use, or to copy and change: a generator that owns no magic."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from optaxctl._core.checks import count, did_you_mean
from optaxctl._core.keeping import keep_best
from optaxctl._core.types import Mode
from optaxctl.host._epoch import Epoch
from optaxctl.host.checkpoint import Checkpoints
from optaxctl.host.interrupt import Interrupt, Interrupted
from optaxctl.views._observe import observe
from optaxctl.views._read import Reading, read
from optaxctl.views._state import states

Carry = Any
"""What a step carries on: a pytree, or objects that it changes in place."""


def epochs(
    step: Callable[[Carry, Any], Carry | None],
    carry: Carry,
    batches: Callable[[int], Iterable[Any]],
    *,
    evaluate: Callable[[Carry], dict[str, Any]],
    max_epochs: int,
    monitor: str = "val_loss",
    mode: Mode = "min",
    checkpoints: Checkpoints | None = None,
    save_every: int = 1,
    params: Callable[[Any], Any] | None = None,
    pure: Callable[[Carry], Any] = lambda carry: carry,
    restore: Callable[[Carry, Any], Carry | None] = lambda carry, tree: tree,
    interrupt: Interrupt | None = None,
) -> Iterator[Epoch]:
    """Trains, and yields once an epoch, so that the `for` loop stays the user's.

    An epoch is: step through `batches(n)`, `evaluate`, hand the metrics that were
    declared in `control(..., observed=...)` to the controllers, keep the parameters if
    `monitor` is the best so far (a NaN never is), and save every `save_every` epochs
    and at the end. The controllers answer in the step that follows an evaluation, so
    the record of an epoch is yielded after the first step of the next; the device is
    waited for there and at the end of an epoch, never in between.

    If `checkpoints` holds one, the run goes on from it. It ends as it would have ended
    uninterrupted, bit for bit, if `batches` depends on nothing but n.

    Args:
      step: Takes the carry and a batch and returns the new carry, or None if it changes
        the carry in place, as NNX does. Jit it yourself.
      carry: Where to begin: (params, opt_state), a TrainState, (model, optimizer), ...
        with a `control`led optimizer in it.
      batches: The batches of epoch n, counted from 0.
      evaluate: Takes the carry and returns metrics by name.
      max_epochs: Epochs to do at most, >= 1.
      monitor: The metric that decides which parameters are best.
      mode: Whether lower ("min") or higher ("max") values of it are better.
      checkpoints: Where to save and to go on from, if anywhere.
      save_every: Epochs from one checkpoint to the next, >= 1.
      params: Takes the pure carry and returns what to keep of the best epoch; the
        `params` of a TrainState or the first of a tuple by default.
      pure: Takes the carry and returns it as a pytree of arrays. For NNX,
        `lambda carry: nnx.as_pure(nnx.state(carry))`.
      restore: Takes the carry and such a pytree and puts it back, as `step` does. For
        NNX, `nnx.update`.
      interrupt: An `Interrupt` that was entered. Once it is reached, the carry and the
        place in the epoch are saved after the step at hand, and `Interrupted` ends the
        loop; it goes on there with the next call.

    Yields:
      An `Epoch` each. The last one has a `reason`.

    Raises:
      Interrupted: A `SystemExit`, when `interrupt` is reached and all is saved.
      TypeError: If there is no `control` in the carry, or `evaluate` leaves out
        `monitor` or a metric that the controllers wait for.
      ValueError: If there is an `interrupt` and nowhere to save, an epoch has no
        batches, the checkpoint does not fit, or a controller asks to rewind in a
        `control` without snapshots.

    Example:
      >>> import jax, jax.numpy as jnp, optax, optaxctl as octl
      >>> stopper = octl.stop.patience(3)
      >>> tx = octl.control(optax.sgd(0.4), stopper, observed=("val_loss",))
      >>> def loss(w):
      ...     return jnp.maximum((w - 3) ** 2, 0.5)
      >>> @jax.jit
      ... def step(carry, batch):
      ...     w, opt_state = carry
      ...     return octl.apply_gradients(tx, jax.grad(loss)(w), opt_state, w)
      >>> w = jnp.array(0.0)
      >>> for epoch in octl.loop.epochs(
      ...     step,
      ...     (w, tx.init(w)),
      ...     batches=lambda n: range(2),
      ...     evaluate=lambda carry: {"val_loss": loss(carry[0])},
      ...     max_epochs=20,
      ... ):
      ...     print(epoch.reason or f"{epoch.number}: {epoch.best}")
      1: 0.5
      2: 0.5
      3: 0.5
      val_loss has not beaten 0.5 for 3 checks; stopping at step 9.
    """
    count("loop.epochs", max_epochs=max_epochs, save_every=save_every)
    if interrupt is not None and checkpoints is None:
        raise ValueError("`loop.epochs(interrupt=...)` needs `checkpoints` to save in.")
    best_of = params or _params
    keeper = keep_best(mode)
    keep = jax.jit(keeper.update)
    kept = keeper.init(best_of(pure(carry)))
    rates: tuple[float, float] | None = None
    record: Epoch | None = None
    saved: int | None = None
    done = 0  # batches of the epoch at hand that a former run has stepped through

    def describe(number: int, metrics: dict[str, float], seconds: float) -> Epoch:
        best, seen, since = jax.device_get((keeper.value(kept), *kept.record[1:]))
        return Epoch(
            number=number,
            max_epochs=max_epochs,
            metrics=metrics,
            monitor=monitor,
            best=float(best) if seen else None,
            since_best=int(since),
            best_params=kept.params,
            lr_range=rates,
            seconds=seconds,
            reading=reading,
            carry=carry,
        )

    def save(record: Epoch | None, *, step: int, batches: int = 0) -> None:
        nonlocal saved
        if checkpoints is not None and saved != step:
            names = ("number", "metrics", "seconds")
            told = {n: getattr(record, n) for n in names} if record else None
            tree = {"carry": pure(carry), "best": kept}
            notes = {"epoch": told, "rates": rates, "batches": batches}
            measured = None if batches or not record else record.metrics
            checkpoints.save(step, tree, notes, metrics=measured)
            saved = step

    def leave(record: Epoch | None, batches: int) -> None:
        if interrupt is None:
            return
        step = read(carry).step
        if interrupt.reached(step):
            save(record, step=step, batches=batches)
            raise Interrupted(
                f"{interrupt.name or 'A signal'} came; everything is saved at step "
                f"{step:,}, where the next run goes on."
            )

    if checkpoints is not None and checkpoints.latest() is not None:
        tree, notes = checkpoints.restore({"carry": pure(carry), "best": kept})
        carry = _moved(carry, restore(carry, tree["carry"]))
        kept = tree["best"]
        rates = tuple(notes["rates"]) if notes["rates"] else None
        reading = read(carry)
        record = describe(**notes["epoch"]) if notes["epoch"] else None
        saved, done = reading.step, notes["batches"]

    start = record.number if record else 0
    for n in range(start, start if record and record.stopped else max_epochs):
        began = time.perf_counter()
        stream = iter(batches(n))
        told = done > 0
        for _ in range(done):
            _first(stream, n)
        if not told:
            carry = _moved(carry, step(carry, _first(stream, n)))
            done = 1
        reading = _followed(carry)
        rates = _widened(rates, reading)
        if record and not told:
            record = replace(record, reading=reading, lr_range=rates, carry=carry)
            if record.stopped:
                break
            paused = time.perf_counter()
            yield record
            began += time.perf_counter() - paused
        leave(record, done)
        for batch in stream:
            carry = _moved(carry, step(carry, batch))
            done += 1
            leave(record, done)
        done = 0

        metrics = {name: float(value) for name, value in evaluate(carry).items()}
        declared = _declared(carry)
        _check(metrics, monitor, declared)
        carry = observe(carry, **{name: metrics[name] for name in declared})
        _, kept = keep(metrics[monitor], best_of(pure(carry)), kept)
        reading = _followed(carry)
        rates = _widened(rates, reading)
        record = describe(n + 1, metrics, time.perf_counter() - began)
        if record.number % save_every == 0:
            save(record, step=record.step)
        if record.stopped:
            break

    if record:
        save(record, step=record.step)
        yield record


def _moved(carry: Carry, new: Carry | None) -> Carry:
    return carry if new is None else new


def _first(stream: Iterator[Any], n: int) -> Any:
    for batch in stream:
        return batch
    raise ValueError(f"`batches({n})` gave no batch; an epoch needs one.")


def _widened(
    rates: tuple[float, float] | None, reading: Reading
) -> tuple[float, float] | None:
    if reading.learning_rate is None:
        return rates
    low, high = rates or (math.inf, -math.inf)
    return min(low, reading.learning_rate), max(high, reading.learning_rate)


def _params(tree: Any) -> Any:
    return tree.params if hasattr(tree, "params") else tree[0]


def _followed(carry: Carry) -> Reading:
    reading = read(carry)
    in_step = all(state.snapshots is not None for state in states(carry))
    if np.any(reading.rewinds) and not in_step:
        raise ValueError(
            f"A controller asked to rewind by step {reading.step:,}, which "
            "`loop.epochs` cannot do. Let the step do it with "
            "`control(..., snapshots=octl.Snapshots())`."
        )
    return reading


def _declared(carry: Carry) -> list[str]:
    """Returns the names that `control(..., observed=...)` waits for."""
    return sorted({n for state in states(carry) for n in state.layout.keys("observed")})


def _check(metrics: dict[str, float], monitor: str, declared: list[str]) -> None:
    """A controller that waits in vain would never act, so it is told at once."""
    readers = dict.fromkeys(declared, "the controllers wait for it")
    for name, why in {monitor: "`monitor` names it", **readers}.items():
        if name not in metrics:
            raise TypeError(
                f"`evaluate` returned {', '.join(metrics) or 'nothing'} but not "
                f"`{name}`, and {why}.{did_you_mean(name, metrics)}"
            )
