"""A ramp before any schedule."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import (
    AnySchedule,
    Progress,
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


def warmup(
    schedule: AnySchedule,
    warmup_steps: int,
    *,
    init_value: float = 0.0,
    shape: Shape = "linear",
) -> Schedule:
    """Ramps from `init_value` to where `schedule` begins, then follows it.

    With s the schedule, w = `warmup_steps` and a linear `shape`,

        value = init_value + (s(0) - init_value) * step / w    for step < w
        value = s(step - w)                                    from w on

    so the schedule is moved, not cut: its whole course follows the ramp. Another shape
    is gone backwards, from its end up. A negative step counts as 0.

    Args:
      schedule: Any function of an int32 step.
      warmup_steps: Length of the ramp in optimizer steps, >= 0.
      init_value: Value at step 0, in units of the schedule. At 0 the first step of a
        run changes nothing.
      shape: `"linear"`, `"cosine"`, `"sqrt"` (1 - sqrt), or a function of the share of
        the way down that is done to the share that is left.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `schedule` is not a function, `warmup_steps` is not a whole number
        >= 0, `shape` is unknown, or `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.warmup(octl.schedules.cosine(90), 10)
      >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 55, 100)]
      [0.0, 0.5, 1.0, 0.5, 0.0]

    References:
      Goyal et al., `Accurate, Large Minibatch SGD
      <https://arxiv.org/abs/1706.02677>`_, 2017. With `cosine(d)` this is
      `optax.warmup_cosine_decay_schedule` with `decay_steps = warmup_steps + d`.
    """
    name = "schedules.warmup"
    check_schedule(name, schedule=schedule)
    checks.count(name, low=0, warmup_steps=warmup_steps)
    warmup_steps = whole(warmup_steps)
    checks.finite(name, init_value=init_value)
    check_shape(name, shape=shape)

    @closed_form
    def course(step: Any) -> Any:
        way = progress(step, warmup_steps)
        peak = schedule(jnp.zeros_like(step))
        ramp = fall(shape, Progress(done=way.left, left=way.done))
        body = schedule(jnp.maximum(step - warmup_steps, 0))
        return jnp.where(way.left > 0, between(peak, init_value, *ramp), body)

    return course
