"""A fall at the end of any schedule."""

from typing import Any

from optaxctl._core import checks
from optaxctl.schedules._course import (
    AnySchedule,
    Schedule,
    Shape,
    between,
    check_schedule,
    check_shape,
    closed_form,
    fall,
    progress,
    whole,
)


def cooldown(
    schedule: AnySchedule,
    start: int,
    steps: int,
    *,
    end_value: float = 0.0,
    shape: Shape = "linear",
) -> Schedule:
    """Follows a schedule, and from `start` on leads it to `end_value`.

    With s the schedule, p = (step - start) / steps clamped to [0, 1], and h the height
    of the `shape`, which falls from 1 to 0,

        value = end_value + (s(step) - end_value) * h(p)

    so that a schedule that goes on changing does so under the fall, and nothing jumps.
    It stays at `end_value` from start + steps on. A negative step counts as 0.

    Args:
      schedule: A function of a step.
      start: The step at which the fall begins, >= 0.
      steps: Its length in optimizer steps, >= 0.
      end_value: Value at its end.
      shape: The way down: `"linear"`, `"cosine"`, `"sqrt"` (1 - sqrt), or a function of
        the share that is done to the share that is left.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `schedule` is not a function, a step count is not a whole number
        >= 0, `shape` is unknown, or `end_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.cooldown(octl.schedules.constant(0.1), 80, 20)
      >>> [round(float(schedule(step)), 4) for step in (0, 80, 90, 100)]
      [0.1, 0.1, 0.05, 0.0]

    References:
      Zhai et al., `Scaling Vision Transformers <https://arxiv.org/abs/2106.04560>`_,
      2021, and Big Vision. With `end_value=swa_lr` it is torch's `SWALR`: the way to
      the constant rate of stochastic weight averaging.
    """
    name = "schedules.cooldown"
    check_schedule(name, schedule=schedule)
    checks.count(name, low=0, start=start, steps=steps)
    start, steps = whole(start), whole(steps)
    checks.finite(name, end_value=end_value)
    check_shape(name, shape=shape)

    @closed_form
    def course(step: Any) -> Any:
        way = progress(step - start, steps)
        return between(schedule(step), end_value, *fall(shape, way))

    return course
