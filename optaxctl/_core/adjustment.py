"""The one way in which a controller moves the learning rate."""

from collections.abc import Callable
from typing import Any, NamedTuple

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
      ready: `ready(state) -> Flag`, false while updates are to be ignored.
      update: `update(factor, state, brake=..., bounds=...) -> AdjustmentState`, with 1
        for no wish; call it in every update. Where `brake` is true the wish is not
        held up by a cooldown and may exceed the largest change. `bounds` replaces
        floor and ceiling in this update.
    """

    init: Callable[[], AdjustmentState]
    ready: Callable[[AdjustmentState], Flag]
    update: Callable[..., AdjustmentState]


def adjustment(
    who: str,
    *,
    floor: float,
    ceil: float = 1.0,
    cooldown: int,
    warmup: int = 0,
    max_adjustments: int | None,
    max_change: float | None = None,
    eps: float = 0.0,
) -> Adjustment:
    """Builds the adjuster of controller `who`, which names it in errors.

    The bounds hold for the product of all adjustments. A wish that a bound refuses, or
    that would move the scale by no more than `eps`, changes nothing: it starts no
    cooldown and uses up no adjustment, so refused wishes never pile up. After a cut
    exactly `cooldown` updates are ignored, after a raise `warmup`. One factor lies
    between 1 - `max_change` and 1 + `max_change`; only the emergency brake may exceed
    that. A bound that moves across the scale moves nothing: it refuses what would lead
    further away.
    """
    checks.within(0, 1, who, floor=floor)
    checks.at_least(1, who, ceil=ceil)
    checks.count(who, low=0, cooldown=cooldown, warmup=warmup)
    if max_adjustments is not None:
        checks.count(who, max_adjustments=max_adjustments)
    if max_change is not None:
        checks.above(0, who, max_change=max_change)
    checks.at_least(0, who, eps=eps)

    def init() -> AdjustmentState:
        return AdjustmentState(
            scale=jnp.ones((), jnp.float32),
            made=jnp.zeros((), jnp.int32),
            quiet=jnp.zeros((), jnp.int32),
        )

    def update(
        factor: Any,
        state: AdjustmentState,
        *,
        brake: Any = False,
        bounds: tuple[Any, Any] = (floor, ceil),
    ) -> AdjustmentState:
        low, high = (jnp.asarray(bound, jnp.float32) for bound in bounds)
        wish = jnp.asarray(factor, jnp.float32)
        if max_change is not None:
            most = jnp.asarray(max_change, jnp.float32)
            wish = jnp.where(brake, wish, jnp.clip(wish, 1 - most, 1 + most))
        low, high = jnp.minimum(low, state.scale), jnp.maximum(high, state.scale)
        target = jnp.clip(state.scale * wish, low, high)
        far = jnp.abs(target - state.scale) > jnp.asarray(eps, jnp.float32)
        moves = ((state.quiet == 0) | brake) & far
        if max_adjustments is not None:
            moves &= state.made < max_adjustments
        rest = jnp.where(target < state.scale, cooldown, warmup).astype(jnp.int32)
        return AdjustmentState(
            scale=jnp.where(moves, target, state.scale),
            made=jnp.where(moves, increment(state.made), state.made),
            quiet=jnp.where(moves, rest, jnp.maximum(state.quiet - 1, 0)),
        )

    return Adjustment(init, lambda state: state.quiet == 0, update)
