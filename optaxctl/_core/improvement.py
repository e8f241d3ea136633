"""One definition of "improved", shared by everything that waits for progress."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.counting import increment
from optaxctl._core.types import F32, I32, Flag, Mode, Nonfinite


class BestState(NamedTuple):
    """The best finite value so far, and how long ago it was seen."""

    best: F32  # lowest finite value; negated in max mode
    seen: Flag  # whether there is a best
    stale: I32  # updates since `best`; saturates


class Improvement(NamedTuple):
    """Tells whether a value improves on the best one.

    Attributes:
      init: `init() -> BestState`.
      update: `update(x, state) -> (improved, state)`.
      to_beat: `to_beat(state) -> F32`, the value that the next one must beat.
    """

    init: Callable[[], BestState]
    update: Callable[[F32, BestState], tuple[Flag, BestState]]
    to_beat: Callable[[BestState], F32]


def improvement(
    who: str,
    *,
    mode: Mode,
    atol: float,
    rtol: float,
    nonfinite: Nonfinite,
    cumulative: bool = True,
    baseline: float | None = None,
) -> Improvement:
    """Builds the test for controller `who`, which names it in errors.

    In min mode x improves when x < best - (atol + rtol * |best|), strictly; the first
    finite value always does. In max mode x and best are negated once, at the door.
    A non-finite x never improves; it counts as stale or not, as `nonfinite` says.

    If not `cumulative`, any gain moves the best value, even one that is too small to
    count, so that small gains do not add up to one that does. With a `baseline` only
    an improvement on that too makes nothing stale.
    """
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.one_of(who, "nonfinite", nonfinite, ("count", "ignore"))
    checks.at_least(0, who, atol=atol, rtol=rtol)
    checks.flag(who, cumulative=cumulative)
    if baseline is not None:
        checks.finite(who, baseline=baseline)
    sign = jnp.float32(1 if mode == "min" else -1)

    def below(level: F32) -> F32:
        margin = jnp.asarray(rtol, jnp.float32) * jnp.abs(level)
        return level - (jnp.asarray(atol, jnp.float32) + margin)

    highest = jnp.float32(jnp.inf)
    if baseline is not None:
        highest = below(sign * jnp.asarray(baseline, jnp.float32))

    def threshold(state: BestState) -> F32:
        return jnp.where(state.seen, below(state.best), jnp.inf)

    def init() -> BestState:
        return BestState(
            best=jnp.zeros((), jnp.float32),
            seen=jnp.zeros((), jnp.bool_),
            stale=jnp.zeros((), jnp.int32),
        )

    def update(x: F32, state: BestState) -> tuple[Flag, BestState]:
        finite = jnp.isfinite(x)
        better = finite & (sign * x < threshold(state))
        fresh = better & (sign * x < highest)
        gained = better
        if not cumulative:
            gained |= finite & (sign * x < state.best)
        counted = finite | (nonfinite == "count")
        older = jnp.where(counted, increment(state.stale), state.stale)
        return better, BestState(
            best=jnp.where(gained, sign * x, state.best),
            seen=state.seen | gained,
            stale=jnp.where(fresh, 0, older),
        )

    def to_beat(state: BestState) -> F32:
        return sign * jnp.minimum(threshold(state), highest)

    return Improvement(init, update, to_beat)
