"""A straight line from one value to another."""

from typing import Any

from optaxctl._core import checks
from optaxctl.schedules._course import (
    Schedule,
    between,
    closed_form,
    fall,
    progress,
    whole,
)


def linear(
    transition_steps: int, *, init_value: float = 1.0, end_value: float = 0.0
) -> Schedule:
    """Goes from `init_value` to `end_value` in equal parts.

    With p = min(step, transition_steps) / transition_steps,

        value = init_value + (end_value - init_value) * p

    A negative step counts as 0.

    Args:
      transition_steps: Length of the way in optimizer steps, >= 1.
      init_value: Value at step 0. The default makes the schedule a factor, for
        `lr.follow`; give a learning rate to use it in an optimizer directly.
      end_value: Value from `transition_steps` on.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `transition_steps` is not a whole number >= 1, or a value is not
        finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.linear(10, init_value=0.1)
      >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20)]
      [0.1, 0.05, 0.0, 0.0]

    References:
      `optax.linear_schedule`; torch's `LinearLR` with `init_value = lr * start_factor`
      and `end_value = lr * end_factor`.
    """
    checks.count("schedules.linear", transition_steps=transition_steps)
    transition_steps = whole(transition_steps)
    checks.finite("schedules.linear", init_value=init_value, end_value=end_value)

    @closed_form
    def course(step: Any) -> Any:
        way = progress(step, transition_steps)
        return between(init_value, end_value, *fall("linear", way))

    return course
