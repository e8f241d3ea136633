"""A power of the way that is left."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import (
    Progress,
    Schedule,
    between,
    closed_form,
    progress,
    split,
    whole,
)


def polynomial(
    transition_steps: int,
    *,
    power: float,
    init_value: float = 1.0,
    end_value: float = 0.0,
    cycle: bool = False,
) -> Schedule:
    """Falls from `init_value` to `end_value` with a power of the way that is left.

    With n = `transition_steps` and p = min(step, n) / n,

        value = end_value + (init_value - end_value) * (1 - p) ** power

    With `cycle` the way is prolonged instead of ending: n is n * ceil(step / n), so the
    value touches `end_value` at every multiple of n and falls again from ever lower. A
    negative step counts as 0.

    Args:
      transition_steps: Length of the way in optimizer steps, >= 1.
      power: > 0. At 1 the way is straight, above it falls sooner.
      init_value: Value at step 0.
      end_value: Value from `transition_steps` on.
      cycle: Whether to prolong the way when it ends.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `transition_steps` is not a whole number >= 1, `power` is not
        above 0, or a value is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.polynomial(10, power=2.0)
      >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20)]
      [1.0, 0.25, 0.0, 0.0]

    References:
      `optax.polynomial_schedule`; torch's `PolynomialLR`; `cycle` is that of Keras'
      `PolynomialDecay`.
    """
    name = "schedules.polynomial"
    checks.count(name, transition_steps=transition_steps)
    transition_steps = whole(transition_steps)
    checks.above(0, name, power=power)
    checks.finite(name, init_value=init_value, end_value=end_value)
    checks.flag(name, cycle=cycle)

    @closed_form
    def course(step: Any) -> Any:
        way = _prolonged if cycle else progress
        return between(init_value, end_value, way(step, transition_steps).left ** power)

    return course


def _prolonged(step: Any, steps: Any) -> Progress:
    missing = split(steps - split(step, steps)[1], steps)[1]  # to the next multiple
    missing = jnp.where(step == 0, steps, missing).astype(jnp.float32)
    length = step.astype(jnp.float32) + missing
    return Progress(step.astype(jnp.float32) / length, missing / length)
