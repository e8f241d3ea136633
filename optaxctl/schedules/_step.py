"""Stairs: a factor at every so many steps, or at given ones."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, closed_form, passed, split, whole
from optaxctl.schedules._geometric import geometric


def step(step_size: int, *, gamma: float = 0.1, init_value: float = 1.0) -> Schedule:
    """Multiplies by `gamma` every `step_size` steps.

        value = init_value * gamma ** floor(step / step_size)

    A negative step counts as 0. With `gamma` above 1 the value ends at the largest
    float32.

    Args:
      step_size: Steps on one stair, >= 1.
      gamma: Factor from stair to stair, >= 0.
      init_value: Value on the first stair.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `step_size` is not a whole number >= 1, `gamma` is negative or not
        finite, or `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.step(10, gamma=0.5)
      >>> [float(schedule(step)) for step in (0, 9, 10, 25)]
      [1.0, 1.0, 0.5, 0.25]

    References:
      torch's `StepLR`; `schedules.exponential` with `staircase` has Keras' and Optax's
      words for it.
    """
    checks.count("schedules.step", step_size=step_size)
    step_size = whole(step_size)
    checks.at_least(0, "schedules.step", gamma=gamma)
    checks.finite("schedules.step", init_value=init_value)

    @closed_form
    def course(step: Any) -> Any:
        return geometric(init_value, gamma, split(step, step_size)[0])

    return course


def multistep(
    milestones: Sequence[int], *, gamma: float = 0.1, init_value: float = 1.0
) -> Schedule:
    """Multiplies by `gamma` at every milestone.

        value = init_value * gamma ** (number of milestones <= step)

    A milestone that is given twice counts twice, and one at 0 counts from the start.

    Args:
      milestones: Steps >= 0, in any order.
      gamma: Factor at each of them, >= 0.
      init_value: Value before the first of them.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `milestones` are not whole numbers >= 0, `gamma` is negative or not
        finite, or `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.multistep([30, 80], gamma=0.5)
      >>> [float(schedule(step)) for step in (0, 29, 30, 80)]
      [1.0, 1.0, 0.5, 0.25]

    References:
      torch's `MultiStepLR`. timm's takes effect one step earlier.
    """
    checks.counts("schedules.multistep", milestones=milestones)
    milestones = tuple(milestones)
    checks.at_least(0, "schedules.multistep", gamma=gamma)
    checks.finite("schedules.multistep", init_value=init_value)

    @closed_form
    def course(step: Any) -> Any:
        times = passed(step, jnp.asarray(milestones, jnp.int32))
        return geometric(init_value, gamma, times)

    return course
