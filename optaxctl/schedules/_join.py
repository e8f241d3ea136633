"""One schedule after another."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import (
    AnySchedule,
    Schedule,
    check_schedule,
    closed_form,
)


def join(schedules: Sequence[AnySchedule], boundaries: Sequence[int]) -> Schedule:
    """Follows each schedule up to its boundary, and begins the next one there.

    With s_i the schedules, b_0 = 0 and b_i the boundaries,

        value = s_i(step - b_i)    for b_i <= step < b_(i+1)

    and the last one goes on for ever. No schedule sees a negative step.

    Args:
      schedules: k + 1 functions of a step.
      boundaries: k steps >= 0 in ascending order. Of two that are the same the schedule
        between them is left out.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If one of `schedules` is not a function, there is not one more of them
        than boundaries, or the boundaries are not ascending whole numbers >= 0.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.join(
      ...     [octl.schedules.constant(0.5), octl.schedules.linear(10)], [100]
      ... )
      >>> [float(schedule(step)) for step in (0, 99, 100, 105, 110)]
      [0.5, 0.5, 1.0, 0.5, 0.0]

    References:
      `optax.join_schedules`, which ignores boundaries that are too many; torch's
      `SequentialLR`.
    """
    name = "schedules.join"
    checks.sequence(name, schedules=schedules)
    schedules = tuple(schedules)
    for i, schedule in enumerate(schedules):
        check_schedule(name, **{f"schedules[{i}]": schedule})
    checks.counts(name, low=0, ascending=True, boundaries=boundaries)
    boundaries = tuple(boundaries)
    checks.require(
        len(boundaries) == len(schedules) - 1,
        name,
        "boundaries",
        boundaries,
        f"one fewer than the {len(schedules)} schedules",
    )

    @closed_form
    def course(step: Any) -> Any:
        value = jnp.asarray(schedules[0](step), jnp.float32)
        for i, schedule in enumerate(schedules[1:]):
            since = step - boundaries[i]
            later = jnp.asarray(schedule(jnp.maximum(since, 0)), jnp.float32)
            value = jnp.where(since >= 0, later, value)
        return value

    return course
