"""The product of schedules."""

import math
from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import (
    AnySchedule,
    Schedule,
    check_schedule,
    closed_form,
)


def times(*schedules: AnySchedule) -> Schedule:
    """Multiplies schedules.

        value = s_1(step) * s_2(step) * ...

    A negative step counts as 0.

    Args:
      *schedules: One or more functions of a step. One of them may be a rate; the others
        are factors.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If there is none, or one is not a function.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.times(
      ...     octl.schedules.linear(10, init_value=0.0, end_value=1.0),
      ...     octl.schedules.step(20, gamma=0.5),
      ... )
      >>> [float(schedule(step)) for step in (0, 5, 10, 20)]
      [0.0, 0.5, 1.0, 0.5]

    References:
      torch's `ChainedScheduler`, in which some schedulers wipe out the factors of those
      before them. A plateau multiplies a schedule in a controller:
      `together(schedule=lr.follow(schedule), plateau=lr.plateau(...))`.
    """
    name = "schedules.times"
    checks.require(bool(schedules), name, "schedules", schedules, "at least one")
    for i, schedule in enumerate(schedules):
        check_schedule(name, **{f"schedules[{i}]": schedule})

    @closed_form
    def course(step: Any) -> Any:
        return math.prod(jnp.asarray(s(step), jnp.float32) for s in schedules)

    return course
