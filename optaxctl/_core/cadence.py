"""When a controller is updated, and what holds in between."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import (
    Controller,
    Signals,
    State,
    read,
    require_controller,
    shape,
)
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide, without_events
from optaxctl._core.factory import factory
from optaxctl._core.types import I32, Flag


class HeldState(NamedTuple):
    """State of `when`: the inner state and the decision it last took."""

    decision: Decision
    inner: State


class CountedState(NamedTuple):
    """State of what counts updates, and the inner state."""

    updates: I32
    inner: State


@factory
def when(
    predicate: Callable[[Signals], Flag],
    controller: Controller,
    *,
    reads: Sequence[str] = (),
) -> Controller:
    """Updates a controller only when `predicate(signals)` is true.

    Otherwise its state stays as it is and its last decision stays in force, except
    `skip` and `rewind`, which belong to one step and are never repeated. Before the
    first update the decision is neutral.

    Args:
      predicate: A pure, traceable function of the signals; a scalar bool.
      controller: The controller to hold back.
      reads: Names of the signals that `predicate` reads and the controller does not,
        beside `step` and `accepted`.

    Returns:
      A controller that moves the fields of the inner one.

    Example:
      >>> import optaxctl as octl
      >>> early = octl.when(lambda s: s["step"] < 100, octl.clip.zscore())
      >>> early.signals
      frozenset({'grad_norm'})
    """

    def init() -> HeldState:
        return HeldState(shape(controller)[1], controller.init())

    def update(signals: Signals, state: HeldState) -> tuple[Decision, HeldState]:
        for name in reads:
            read(signals, name, "when")
        try:
            live = jnp.asarray(predicate(signals), jnp.bool_)
        except KeyError as error:
            raise TypeError(
                f"The predicate of `when` reads the signal `{error.args[0]}`. Name it: "
                f'`when(..., reads=("{error.args[0]}",))`.'
            ) from error
        new, inner = controller.update(signals, state.inner)
        held = without_events(state.decision)
        decision = _choose(live, new, held)
        return decision, HeldState(
            jax.tree.map(jnp.asarray, decision), _select(live, inner, state.inner)
        )

    return Controller(
        init,
        update,
        controller.signals | frozenset(reads),
        lambda state: controller.gauges(state.inner),
    )


def fresh_only(controller: Controller, observed: frozenset[str]) -> Controller:
    """Holds every part that reads an observed signal until that signal is fresh.

    The caller passes a bool signal `fresh/NAME` for every observed name. Parts are held
    one by one where that is possible, so a step signal still drives its own parts. The
    counts of steps are never old, so they may stand beside what is observed.
    """
    if controller.combine is not None:
        parts = controller.parts.items()
        held = {name: fresh_only(part, observed) for name, part in parts}
        return controller.combine(**held)
    waits = controller.signals & observed
    if not waits:
        return controller
    if steps := controller.signals - observed - {"step", "accepted"}:
        raise ValueError(
            f"A controller reads {_words(steps)} in every step and {_words(waits)} "
            "only when observed, so it cannot tell a new value from an old one. Split "
            "it into two controllers with `together`."
        )

    def fresh(signals: Signals) -> Any:
        flags = (signals[f"fresh/{name}"] for name in sorted(waits))
        return functools.reduce(jnp.logical_and, flags)

    return when(fresh, controller)


@factory
def every(updates: int, controller: Controller) -> Controller:
    """Updates a controller at every `updates`-th call: the n-th, the 2n-th, ...

    Between them the last decision stays in force, without its events.

    Args:
      updates: Calls per update of the inner controller, >= 1.
      controller: The controller to slow down; its own counts are in its own updates.

    Returns:
      A controller that moves the fields of the inner one.

    Raises:
      ValueError: If `updates` is not a whole number >= 1.

    Example:
      >>> import optaxctl as octl
      >>> patient = octl.every(500, octl.stop.patience(5, monitor="loss"))
    """
    checks.count("every", updates=updates)
    period = jnp.asarray(updates, jnp.int32)
    # The phase travels as a signal, so that `when` does the holding.
    inner = when(lambda s: s["every/due"], controller)

    def update(signals: Signals, state: CountedState) -> tuple[Decision, CountedState]:
        calls = state.updates + 1
        due = calls >= period
        decision, held = inner.update({**signals, "every/due": due}, state.inner)
        return decision, CountedState(jnp.where(due, 0, calls), held)

    return _counted(inner, update)


@factory
def start_at(updates: int, controller: Controller) -> Controller:
    """Leaves a controller alone before call number `updates`, counted from 0.

    Until then it is not updated, so it sees none of the early values, and its
    decision is neutral. Compare `after`, which updates but mutes.

    Args:
      updates: Calls to wait, >= 0.
      controller: The controller that starts late.

    Returns:
      A controller that moves the fields of the inner one.

    Raises:
      ValueError: If `updates` is not a whole number >= 0.

    Example:
      >>> import optaxctl as octl
      >>> late = octl.start_at(1_000, octl.lr.plateau(50, monitor="loss"))
    """
    checks.count("start_at", low=0, updates=updates)
    start = jnp.asarray(updates, jnp.int32)
    inner = when(lambda s: s["start_at/due"], controller)

    def update(signals: Signals, state: CountedState) -> tuple[Decision, CountedState]:
        due = state.updates >= start
        decision, held = inner.update({**signals, "start_at/due": due}, state.inner)
        return decision, CountedState(increment(state.updates), held)

    return _counted(inner, update)


@factory
def after(updates: int, controller: Controller) -> Controller:
    """Updates a controller from the start but mutes it before call `updates`.

    The verdict of the muted time is not kept: a rule that would have fired early and
    has changed its mind by call number `updates` does not fire.

    Args:
      updates: Calls to mute, >= 0, counted from 0.
      controller: The controller to mute.

    Returns:
      A controller that moves the fields of the inner one.

    Raises:
      ValueError: If `updates` is not a whole number >= 0.

    Example:
      >>> import optaxctl as octl
      >>> patient = octl.after(10, octl.stop.patience(3))
    """
    checks.count("after", low=0, updates=updates)
    start = jnp.asarray(updates, jnp.int32)

    def update(signals: Signals, state: CountedState) -> tuple[Decision, CountedState]:
        decision, inner = controller.update(signals, state.inner)
        mute = decide(knobs=dict.fromkeys(decision.knobs, 1))
        loud = _choose(state.updates >= start, decision, mute)
        return loud, CountedState(increment(state.updates), inner)

    return _counted(controller, update)


@factory
def fallback(updates: int, controller: Controller) -> Controller:
    """Mutes a controller while what it reads stays NaN or infinite.

    Once a signal of its own has not been finite in `updates` updates in a row the
    decision is neutral, and a rate falls back to its plain schedule, until an update in
    which all are finite. The controller is updated all the while and decides by its own
    rules on broken values before that.

    Args:
      updates: Updates in a row with a broken signal, >= 1.
      controller: The controller that is not trusted on broken signals.

    Returns:
      A controller that moves the fields of the inner one.

    Raises:
      ValueError: If `updates` is not a whole number >= 1.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> rate = octl.lr.plateau(1, factor=0.5, monitor="loss", nonfinite="count")
      >>> losses = jnp.array([1.0, 2.0, jnp.nan, jnp.nan, 1.0])
      >>> replay = octl.replay(octl.fallback(2, rate), {"loss": losses})
      >>> replay.decisions.lr_scale.tolist()
      [1.0, 0.5, 0.25, 1.0, 0.0625]
    """
    checks.count("fallback", updates=updates)
    require_controller("fallback", "controller", controller)
    limit = jnp.asarray(updates, jnp.int32)
    counts = {"step", "accepted"}

    def update(signals: Signals, state: CountedState) -> tuple[Decision, CountedState]:
        decision, inner = controller.update(signals, state.inner)
        names = sorted(controller.signals - counts)
        values = [read(signals, name, "fallback") for name in names]
        broken = ~jnp.all(jnp.isfinite(jnp.array(values)))
        row = jnp.where(broken, increment(state.updates), 0)
        mute = decide(knobs=dict.fromkeys(decision.knobs, 1))
        return _choose(row < limit, decision, mute), CountedState(row, inner)

    return _counted(controller, update)


def _counted(inner: Controller, update: Callable[..., Any]) -> Controller:
    return inner._replace(
        init=lambda: CountedState(jnp.zeros((), jnp.int32), inner.init()),
        update=update,
        gauges=lambda state: inner.gauges(state.inner),
        combine=None,
    )


def _choose(live: Flag, new: Decision, old: Decision) -> Decision:
    """Returns `new` where `live`, else `old`.

    A field that the controller never moves stays a constant of the program.
    """
    neutral = decide()[:-1]
    fields = zip(new[:-1], old[:-1], neutral, strict=True)
    return Decision(
        *(n if n is still else jnp.where(live, n, o) for n, o, still in fields),
        knobs={k: jnp.where(live, v, old.knobs[k]) for k, v in new.knobs.items()},
    )


def _select(live: Flag, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(live, n, o), new, old)


def _words(names: frozenset[str]) -> str:
    return " and ".join(f"`{name}`" for name in sorted(names))
