"""The early stopping of other libraries, with their bugs or without."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, I32, Flag, Mode


class PeerState(NamedTuple):
    """State of the `like_...` rules."""

    best: F32  # infinite before the first; NaN only where the library's can be
    stale: I32  # updates that count against the patience; saturates
    updates: I32  # updates so far; saturates


class Rule(NamedTuple):
    """A library's early stopping in the words of this one.

    Attributes:
      updates: Updates without improvement at which it stops.
      atol: Smallest gain that counts.
      rtol: The same, relative to the best value.
      cumulative: As in `stop.patience`.
      baseline: As in `stop.patience`.
      start: Updates that it ignores at the start.
      first: Whether the first value counts as a gain, even if it is not finite.
      finite: Whether it stops at a value that is not finite.
      reached: A value whose passing ends the run well, or None.
      beyond: A value whose passing ends the run badly, or None.
      bugs: What it does and nobody can want, by name; left out unless `strict`.
    """

    updates: Any
    atol: Any = 0.0
    rtol: Any = 0.0
    cumulative: bool = True
    baseline: Any = None
    start: Any = 0
    first: bool = False
    finite: bool = False
    reached: Any = None
    beyond: Any = None
    bugs: frozenset[str] = frozenset()


def peer(who: str, rule: Rule, *, monitor: str, mode: Mode, strict: bool) -> Controller:
    """Builds what a library means, or with `strict` what it does."""
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.flag(who, strict=strict)
    bugs = rule.bugs if strict else frozenset()
    sign = 1 if mode == "min" else -1
    number = lambda x: jnp.asarray(x, jnp.float32)
    limit = jnp.asarray(rule.updates, jnp.int32)
    start = jnp.asarray(rule.start, jnp.int32)

    def below(level: F32) -> F32:
        slope = sign * level if "signed margin" in bugs else jnp.abs(level)
        # Where there is no margin, infinity times zero is none.
        share = number(rule.rtol) * jnp.where(jnp.isfinite(level), slope, 0)
        return level - (number(rule.atol) + share)

    highest = number(jnp.inf)
    if rule.baseline is not None:
        highest = below(sign * number(rule.baseline))

    def improves(y: F32, bar: F32) -> Flag:
        better = ~(y >= bar) if "nan improves" in bugs else y < bar
        if "infinite best" not in bugs:
            better &= jnp.isfinite(y) | jnp.isnan(y)
        return better

    def init() -> PeerState:
        return PeerState(
            best=jnp.full((), sign * jnp.inf, jnp.float32),
            stale=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
        )

    def update(signals: Signals, state: PeerState) -> tuple[Decision, PeerState]:
        x = read(signals, monitor, who)
        y, best = sign * x, sign * state.best
        first = state.updates == start
        better = improves(y, below(best))
        if "replaces infinite" in bugs:
            better |= jnp.isinf(best)
        stored = first & ("stores first" in bugs)
        kept = better | stored
        if not rule.cumulative:
            kept |= improves(y, best)
        gains = better | (first & rule.first)
        resets = gains & ((y < highest) | (rule.baseline is None))
        stale = jnp.where(resets, 0, increment(state.stale))
        over = (stale >= limit) & ~gains

        ends = []
        if rule.finite:
            ends.append((~jnp.isfinite(x), StopReason.NONFINITE))
        if rule.reached is not None:
            ends.append((y < sign * number(rule.reached), StopReason.TARGET))
        if rule.beyond is not None:
            ends.append((y > sign * number(rule.beyond), StopReason.LIMIT))
        ended = jnp.zeros((), jnp.int32)
        for met, reason in reversed(ends):
            ended = jnp.where(met, int(reason), ended)
        live = (state.updates >= start) & (ended == 0)
        stop = jnp.where(live & over, int(StopReason.PATIENCE), ended)
        return decide(stop=stop), PeerState(
            best=jnp.where(live & kept, x, state.best),
            stale=jnp.where(live, stale, state.stale),
            updates=increment(state.updates),
        )

    def gauges(state: PeerState) -> dict[str, Any]:
        bar = jnp.minimum(below(sign * state.best), highest)
        return {
            "patience_left": jnp.maximum(limit - state.stale, 0),
            "to_beat": sign * bar,
            "stale": state.stale,
        }

    return Controller(init, update, frozenset({monitor}), gauges)
