"""The early stopping of other libraries: what they mean, and what they do."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.cadence import start_at
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, I32, Flag, Mode
from optaxctl.stop._logic import any_of
from optaxctl.stop._patience import patience
from optaxctl.stop._threshold import limit, nonfinite, target


class StrictState(NamedTuple):
    """State of a `like_...` rule with `strict=True`."""

    best: F32  # as the library has it, NaN and infinite values included
    stale: I32  # what it counts
    updates: I32  # updates so far; saturates


class Rule(NamedTuple):
    """A library's early stopping in the words of this one.

    Attributes:
      updates: Updates without improvement at which it stops.
      atol: Smallest gain that counts.
      rtol: The same, relative to the best value.
      cumulative: As in `stop.patience`.
      baseline: As in `stop.patience`.
      start: Updates that it ignores at the start, or None if it cannot.
      finite: Whether it stops at a value that is not finite.
      reached: A value whose passing ends the run well, or None.
      beyond: A value whose passing ends the run badly, or None.
      quirks: What it does that its documentation does not say, by name.
    """

    updates: Any
    atol: Any = 0.0
    rtol: Any = 0.0
    cumulative: bool = True
    baseline: float | None = None
    start: Any = None
    finite: bool = False
    reached: float | None = None
    beyond: float | None = None
    quirks: frozenset[str] = frozenset()


def peer(who: str, rule: Rule, *, monitor: str, mode: Mode, strict: bool) -> Controller:
    """Builds what a library means, or with `strict` what it does."""
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.flag(who, strict=strict)
    return (_strict if strict else _meant)(who, rule, monitor, mode)


def _meant(who: str, rule: Rule, monitor: str, mode: Mode) -> Controller:
    del who
    common: dict[str, Any] = {"monitor": monitor, "mode": mode}
    wait = patience(
        rule.updates,
        atol=rule.atol,
        rtol=rule.rtol,
        cumulative=rule.cumulative,
        baseline=rule.baseline,
        nonfinite="ignore" if rule.finite else "count",
        **common,
    )
    rules = {"patience": wait if rule.start is None else start_at(rule.start, wait)}
    if rule.finite:
        rules["finite"] = nonfinite(monitor=monitor)
    if rule.reached is not None:
        # A tie is not enough for Lightning, so the next number has to be reached.
        better = -math.inf if mode == "min" else math.inf
        goal: Any = jnp.nextafter(_number(rule.reached), _number(better))
        rules["reached"] = target(goal, **common)
    if rule.beyond is not None:
        rules["beyond"] = limit(rule.beyond, **common)
    return any_of(**rules) if len(rules) > 1 else rules["patience"]


def _strict(who: str, rule: Rule, monitor: str, mode: Mode) -> Controller:
    checks.count(who, updates=rule.updates)
    checks.at_least(0, who, atol=rule.atol, rtol=rule.rtol)
    sign = 1 if mode == "min" else -1
    start = jnp.asarray(0 if rule.start is None else rule.start, jnp.int32)

    def improves(y: F32, level: F32) -> Flag:
        slope = sign * level if "signed margin" in rule.quirks else jnp.abs(level)
        # Where there is no margin, infinity times zero is none.
        share = _number(rule.rtol) * jnp.where(jnp.isfinite(level), slope, 0)
        bar = level - (_number(rule.atol) + share)
        better = y < bar
        if "nan improves" in rule.quirks:
            better = ~(y >= bar)
        if "infinite best" not in rule.quirks:
            better &= jnp.isfinite(y)
        if "replaces infinite" in rule.quirks:
            better |= jnp.isinf(level)
        return better

    def init() -> StrictState:
        return StrictState(
            best=jnp.full((), sign * jnp.inf, jnp.float32),
            stale=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
        )

    def update(signals: Signals, state: StrictState) -> tuple[Decision, StrictState]:
        x = read(signals, monitor, who)
        y, best = sign * x, sign * state.best
        first = state.updates == start
        better = improves(y, best)
        stored = first & ("stores first" in rule.quirks)
        kept = better | stored
        if not rule.cumulative:
            kept |= y < best
        resets = better | stored | (first & ("free first" in rule.quirks))
        if rule.baseline is not None:
            resets &= improves(y, _number(sign * rule.baseline))
        stale = jnp.where(resets, 0, increment(state.stale))
        over = (stale >= rule.updates) & ~(better | stored)

        ends = []
        if rule.finite:
            ends.append((~jnp.isfinite(x), StopReason.NONFINITE))
        if rule.reached is not None:
            ends.append((y < sign * _number(rule.reached), StopReason.TARGET))
        if rule.beyond is not None:
            ends.append((y > sign * _number(rule.beyond), StopReason.LIMIT))
        ended = jnp.zeros((), jnp.int32)
        for met, reason in reversed(ends):
            ended = jnp.where(met, int(reason), ended)
        live = (state.updates >= start) & (ended == 0)
        stop = jnp.where(live & over, int(StopReason.PATIENCE), ended)
        return decide(stop=stop), StrictState(
            best=jnp.where(live & kept, x, state.best),
            stale=jnp.where(live, stale, state.stale),
            updates=increment(state.updates),
        )

    def gauges(state: StrictState) -> dict[str, Any]:
        left = jnp.maximum(rule.updates - state.stale, 0)
        return {"patience_left": left, "best": state.best, "stale": state.stale}

    return Controller(init, update, frozenset({monitor}), gauges)


def _number(x: Any) -> F32:
    return jnp.asarray(x, jnp.float32)
