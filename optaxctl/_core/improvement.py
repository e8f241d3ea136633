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
    who: str, *, mode: Mode, atol: float, rtol: float, nonfinite: Nonfinite
) -> Improvement:
    """Builds the test for controller `who`, which names it in errors.

    In min mode x improves when x < best - (atol + rtol * |best|), strictly; the first
    finite value always does. In max mode x and best are negated once, at the door.
    A non-finite x never improves; it counts as stale or not, as `nonfinite` says.
    """
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.one_of(who, "nonfinite", nonfinite, ("count", "ignore"))
    checks.at_least(0, who, atol=atol, rtol=rtol)
    sign = jnp.float32(1 if mode == "min" else -1)

    def threshold(state: BestState) -> F32:
        share = jnp.asarray(rtol, jnp.float32) * jnp.abs(state.best)
        margin = jnp.asarray(atol, jnp.float32) + share
        return jnp.where(state.seen, state.best - margin, jnp.inf)

    def init() -> BestState:
        return BestState(
            best=jnp.zeros((), jnp.float32),
            seen=jnp.zeros((), jnp.bool_),
            stale=jnp.zeros((), jnp.int32),
        )

    def update(x: F32, state: BestState) -> tuple[Flag, BestState]:
        finite = jnp.isfinite(x)
        improved = finite & (sign * x < threshold(state))
        counted = finite | (nonfinite == "count")
        older = jnp.where(counted, increment(state.stale), state.stale)
        return improved, BestState(
            best=jnp.where(improved, sign * x, state.best),
            seen=state.seen | improved,
            stale=jnp.where(improved, 0, older),
        )

    return Improvement(init, update, lambda state: sign * threshold(state))
