"""Half a cosine from one value to another."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import (
    Schedule,
    between,
    closed_form,
    fall,
    progress,
    split,
    whole,
)


def cosine(
    decay_steps: int,
    *,
    init_value: float = 1.0,
    end_value: float = 0.0,
    periodic: bool = False,
) -> Schedule:
    """Falls from `init_value` to `end_value` along half a cosine.

    With p = min(step, decay_steps) / decay_steps,

        value = end_value + (init_value - end_value) * (1 + cos(pi * p)) / 2

    computed as sin^2(pi * (1 - p) / 2), which keeps its precision near the end. It
    stays at `end_value` after `decay_steps`, or with `periodic` rises and falls again.
    A negative step counts as 0.

    Args:
      decay_steps: Length of the fall in optimizer steps, >= 1.
      init_value: Value at step 0. The default makes the schedule a factor, for
        `lr.follow`; give a learning rate to use it in an optimizer directly.
      end_value: Value from `decay_steps` on.
      periodic: Whether to go back the same way, and so on, every `decay_steps` steps.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `decay_steps` is not a whole number >= 1, or a value is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.cosine(100, init_value=0.1)
      >>> [round(float(schedule(step)), 4) for step in (0, 50, 100, 200)]
      [0.1, 0.05, 0.0, 0.0]

    References:
      Loshchilov & Hutter, `SGDR <https://arxiv.org/abs/1608.03983>`_, 2016.
      `optax.cosine_decay_schedule` with `alpha = end_value / init_value`. torch's
      `CosineAnnealingLR` is the periodic one.
    """
    checks.count("schedules.cosine", decay_steps=decay_steps)
    decay_steps = whole(decay_steps)
    checks.finite("schedules.cosine", init_value=init_value, end_value=end_value)
    checks.flag("schedules.cosine", periodic=periodic)

    @closed_form
    def course(step: Any) -> Any:
        at = step
        if periodic:
            cycle, at = split(step, decay_steps)
            back = split(cycle, 2)[1] == 1
            at = jnp.where(back, decay_steps - at, at)
        return between(
            init_value, end_value, *fall("cosine", progress(at, decay_steps))
        )

    return course
