"""The one way in which a controller moves the learning rate."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.counting import increment
from optaxctl._core.types import F32, I32, Flag


class AdjustmentState(NamedTuple):
    """The scale in force and the limits that remain."""

    scale: F32  # product of all adjustments
    made: I32  # adjustments so far
    quiet: I32  # updates that will still be ignored


class Adjustment(NamedTuple):
    """Moves a scale within cumulative bounds.

    Attributes:
      init: `init() -> AdjustmentState`.
      ready: `ready(state) -> Flag`, false during a cooldown.
      update: `update(wanted, state) -> AdjustmentState`; call it in every update.
    """

    init: Callable[[], AdjustmentState]
    ready: Callable[[AdjustmentState], Flag]
    update: Callable[[Flag, AdjustmentState], AdjustmentState]


def adjustment(
    who: str,
    *,
    factor: float,
    floor: float,
    cooldown: int,
    max_adjustments: int | None,
) -> Adjustment:
    """Builds the adjuster of controller `who`, which names it in errors.

    The bounds hold for the product of all adjustments. A wish that a bound refuses
    changes nothing: it starts no cooldown and uses up no adjustment, so refused
    wishes never pile up. After a change exactly `cooldown` updates are ignored.
    """
    checks.between(0, 1, who, factor=factor)
    checks.at_least(0, who, floor=floor)
    checks.require(floor <= 1, who, "floor", floor, "<= 1")
    checks.count(who, low=0, cooldown=cooldown)
    if max_adjustments is not None:
        checks.count(who, max_adjustments=max_adjustments)

    def init() -> AdjustmentState:
        return AdjustmentState(
            scale=jnp.ones((), jnp.float32),
            made=jnp.zeros((), jnp.int32),
            quiet=jnp.zeros((), jnp.int32),
        )

    def update(wanted: Flag, state: AdjustmentState) -> AdjustmentState:
        lower = state.scale * jnp.asarray(factor, jnp.float32)
        target = jnp.maximum(lower, jnp.asarray(floor, jnp.float32))
        moves = wanted & (state.quiet == 0) & (target < state.scale)
        if max_adjustments is not None:
            moves &= state.made < max_adjustments
        resting = jnp.maximum(state.quiet - 1, 0)
        return AdjustmentState(
            scale=jnp.where(moves, target, state.scale),
            made=jnp.where(moves, increment(state.made), state.made),
            quiet=jnp.where(moves, jnp.asarray(cooldown, jnp.int32), resting),
        )

    return Adjustment(init, lambda state: state.quiet == 0, update)
