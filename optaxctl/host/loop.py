"""A training loop to use, or to copy and change: a generator that owns no magic."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import jax

from optaxctl._core.checks import count, did_you_mean
from optaxctl._core.keeping import keep_best
from optaxctl._core.types import Mode
from optaxctl.host._aside import INTERIM
from optaxctl.host._epoch import Epoch
from optaxctl.host._journal import Journal
from optaxctl.host._rewind import Rewind as Rewind
from optaxctl.host._run import Carry, Run
from optaxctl.host.checkpoint import Checkpoints
from optaxctl.host.history import History
from optaxctl.host.interrupt import Interrupt, Interrupted
from optaxctl.views._observe import observe
from optaxctl.views._state import states


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
    look_every: int = 25,
    max_rewinds: int = 3,
    params: Callable[[Any], Any] | None = None,
    pure: Callable[[Carry], Any] = lambda carry: carry,
    restore: Callable[[Carry, Any], Carry | None] = lambda carry, tree: tree,
    interrupt: Interrupt | None = None,
    history: History | None = None,
) -> Iterator[Epoch]:
    """Trains, and yields once an epoch, so that the `for` loop stays the user's.

    An epoch is: step through `batches(n)`, `evaluate`, hand the metrics that were
    declared in `control(..., observed=...)` to the controllers, keep the parameters if
    `monitor` is the best so far (a NaN never is), and save every `save_every` epochs
    and at the end. The controllers answer in the step that follows an evaluation, so
    the record of an epoch is yielded after the first step of the next. The device is
    waited for there, at the end of an epoch, and with `checkpoints` every `look_every`
    steps in between.

    If `checkpoints` holds one, the run goes on from it, and the epoch that it ends is
    yielded again. It ends as it would have ended uninterrupted, bit for bit, if
    `batches` depends on nothing but n. The epoch that ends the run is yielded once all
    is on the disk.

    When the loop sees in one of these looks that a controller asked to rewind, in a
    `control` without snapshots, it goes back to the newest healthy checkpoint.
    Everything in the carry comes back but what control keeps: steps are not uncounted,
    and counters, cuts and statistics stay. The data go on with the next batch, so those
    since that checkpoint are skipped. Each further one in a row, with no healthy
    checkpoint saved in between, goes back to an older one if there is any, and the one
    after `max_rewinds` ends the run, in the last healthy state and with a `reason`.

    `checkpoints` holds healthy ends of epochs, where no critical alarm was up, no try
    on probation, and nothing had to be taken back, and if a controller can ask for a
    rewind the first state. What is needed to go on
    from other places is kept apart, in `interim`, and pushes none of them out. When a
    critical alarm rises or a rewind is asked for, the state of that look is saved in
    `emergency`, for people.

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
      look_every: Steps from one look to the next within an epoch, >= 1. Keep it within
        the `refractory` of a `rollback`, which asks again after so many.
      max_rewinds: How often to go back in a row before giving up, >= 1.
      params: Takes the pure carry and returns what to keep of the best epoch; the
        `params` of a TrainState or the first of a tuple by default.
      pure: Takes the carry and returns it as a pytree of arrays. For NNX,
        `octl.nnx.pure`.
      restore: Takes the carry and such a pytree and puts it back, as `step` does. For
        NNX, `octl.nnx.restore`.
      interrupt: An `Interrupt` that was entered. Once it is reached, the carry and the
        place in the epoch are saved after the step at hand, and `Interrupted` ends the
        loop; it goes on there with the next call.
      history: Records every step, evaluation and epoch, what the loop does, and why the
        run ends; with `checkpoints`, the run that they are of. It brings what users ask
        for by `optaxctl set` and `stop`, which is done within `look_every` steps. A run
        that the user has stopped is resumed with the next epoch.

    Yields:
      An `Epoch` each. The last one has a `reason`.

    Raises:
      Interrupted: A `SystemExit`, when `interrupt` is reached and all is saved.
      TypeError: If there is no `control` in the carry, or `evaluate` leaves out
        `monitor` or a metric that the controllers wait for.
      ValueError: If there is an `interrupt` and nowhere to save, the control state is
        vmapped, an epoch has no batches, or fewer than when it was interrupted, the
        checkpoint does not fit, or a controller asks to rewind and there are neither
        snapshots nor `checkpoints`.

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
    count("loop.epochs", look_every=look_every, max_rewinds=max_rewinds)
    if interrupt is not None and checkpoints is None:
        raise ValueError("`loop.epochs(interrupt=...)` needs `checkpoints` to save in.")
    _check_single(carry)
    best_of = params or _params
    keeper = keep_best(mode)
    keep = jax.jit(keeper.update)
    kept = keeper.init(best_of(pure(carry)))
    journal = Journal(history)
    run = Run(carry, kept, pure, restore, checkpoints, max_rewinds, journal)

    def describe(**told: Any) -> Epoch:
        best, seen, since = jax.device_get(
            (keeper.value(run.kept), *run.kept.record[1:])
        )
        return Epoch(
            **told,
            max_epochs=max_epochs,
            monitor=monitor,
            best=float(best) if seen else None,
            since_best=int(since),
            best_params=run.kept.params,
            lr_range=run.rates,
            reading=run.reading,
            carry=run.carry,
        )

    def leave() -> None:
        if interrupt is not None and interrupt.reached(next(clock)):
            run.read()
            run.save(record, batches=done)
            run.wait()
            raise Interrupted(
                f"{interrupt.name or 'A signal'} came; everything is saved at step "
                f"{run.reading.step:,}, where the next run goes on."
            )

    notes = run.resume() or {"epoch": None, "batches": 0}
    record = describe(**notes["epoch"]) if notes["epoch"] else None
    done = notes["batches"]  # of the epoch at hand, by a former run
    if any(s.snapshots is None and "rewind" in s.layout.moves for s in states(carry)):
        run.save(record)  # the first state, so that there is one to go back to
    clock = itertools.count(run.reading.step)  # of this process: it reads no device
    start = record.number if record else 0
    for n in range(start, start if record and record.stopped else max_epochs):
        began = time.perf_counter()
        stream = iter(batches(n))
        if done:
            _skip(stream, done, n)
        else:
            run.move(step(run.carry, _first(stream, n)))
            done = 1
            run.look()
            run.widen()
            if record:
                now = {"reading": run.reading, "lr_range": run.rates}
                record = replace(record, **now, carry=run.carry, **run.told())
                if record.stopped:
                    break
                paused = time.perf_counter()
                yield record
                began += time.perf_counter() - paused
        leave()
        for batch in stream:
            run.move(step(run.carry, batch))
            done += 1
            if done % look_every == 0:
                run.obey()
                if checkpoints is not None:
                    run.look()
                if run.over:
                    break
            leave()
        done = 0
        run.obey()
        run.look()

        metrics = {name: float(value) for name, value in evaluate(run.carry).items()}
        declared = _declared(run.carry)
        _check(metrics, monitor, declared)
        run.carry = observe(run.carry, **{name: metrics[name] for name in declared})
        _, run.kept = keep(metrics[monitor], best_of(pure(run.carry)), run.kept)
        run.read()
        run.widen()
        seconds = time.perf_counter() - began
        record = describe(number=n + 1, metrics=metrics, seconds=seconds, **run.told())
        journal.evaluated(record)
        if record.number % save_every == 0:
            run.save(record)
        if record.stopped:
            break

    if record:
        journal.ends(record)
        run.save(record)
        run.wait()
        yield record


def _check_single(carry: Carry) -> None:
    for state in states(carry):
        if lanes := state.arrays()[0].shape[:-1]:
            raise ValueError(
                "`loop.epochs` trains one run, and the control state in `carry` is "
                f"vmapped over {math.prod(lanes):,}. Train each in a loop of its own, "
                "or all of them with `octl.population`."
            )


def _skip(stream: Iterator[Any], done: int, n: int) -> None:
    found = sum(1 for _ in itertools.islice(stream, done))
    if found < done:
        raise ValueError(
            f"`batches({n})` gave {found:,}, and the checkpoint is after {done:,}. Go "
            "on with the batches that the run was interrupted in, or delete "
            f"`{INTERIM}` in the directory of `checkpoints`."
        )


def _first(stream: Iterator[Any], n: int) -> Any:
    for batch in stream:
        return batch
    raise ValueError(f"`batches({n})` gave no batch; an epoch needs one.")


def _params(tree: Any) -> Any:
    return tree.params if hasattr(tree, "params") else tree[0]


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
