"""A schedule in another time."""

import math
from collections.abc import Mapping
from typing import Any, overload

import jax.numpy as jnp
from jax.core import Tracer

from optaxctl._core import checks
from optaxctl.schedules._course import (
    AnySchedule,
    Schedule,
    check_schedule,
    closed_form,
    split,
    whole,
)


@overload
def stretch(schedule: AnySchedule, steps: int, new_steps: int) -> Schedule: ...
@overload
def stretch(
    schedule: Mapping[str, AnySchedule], steps: int, new_steps: int
) -> dict[str, Schedule]: ...


def stretch(schedule: Any, steps: int, new_steps: int) -> Any:
    """Does in `new_steps` steps what a schedule does in `steps`.

        value = s(step * steps / new_steps)

    for instance for a second run that is longer than the first. The quotient has a
    fraction in general, so the schedule must take fractions of a step; it is right to
    an ulp of float32. A negative step counts as 0.

    Args:
      schedule: A function of a step, or a dict of them that keep time together.
      steps: Optimizer steps in the schedule's own time, >= 1.
      new_steps: Steps that they are to take, >= 1.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values; a dict of them
      for a dict.

    Raises:
      ValueError: If `schedule` is not a function, or a step count is not a whole number
        >= 1.

    Example:
      >>> import optaxctl as octl
      >>> cycle = {
      ...     "learning_rate": octl.schedules.one_cycle(101, pct_start=51 / 101),
      ...     "b1": octl.schedules.linear(100, init_value=0.95, end_value=0.85),
      ... }
      >>> longer = octl.schedules.stretch(cycle, 100, 200)
      >>> [round(float(longer[name](100)), 4) for name in ("learning_rate", "b1")]
      [1.0, 0.9]

    References:
      Composer's scale schedule ratio.
    """
    name = "schedules.stretch"
    checks.count(name, steps=steps, new_steps=new_steps)
    if isinstance(schedule, Mapping):
        return {key: stretch(one, steps, new_steps) for key, one in schedule.items()}
    check_schedule(name, schedule=schedule)
    old, new = whole(steps), whole(new_steps)
    traced = isinstance(old, Tracer) or isinstance(new, Tracer)
    # In lowest terms, where a whole quotient has no rest to be rounded.
    divisor: Any = (jnp.gcd if traced else math.gcd)(old, new)
    old, new = old // divisor, new // divisor

    @closed_form
    def course(step: Any) -> Any:
        # In two parts, so that a whole multiple of the new time stays a whole number.
        times, rest = (jnp.asarray(n, jnp.float32) for n in split(step, new))
        return schedule(times * old + rest * old / new)

    return course
