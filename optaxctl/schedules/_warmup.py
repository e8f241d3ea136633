"""A linear ramp before any schedule."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.types import F32
from optaxctl.schedules._progress import progress


def warmup(
    schedule: Callable[[Any], Any], warmup_steps: int, *, init_value: float = 0.0
) -> Callable[[Any], F32]:
    """Ramps linearly from `init_value` to where `schedule` begins, then follows it.

    With s the schedule and w = `warmup_steps`,

        value = init_value + (s(0) - init_value) * step / w    for step < w
        value = s(step - w)                                    from w on

    so the schedule is moved, not cut: its whole course follows the ramp. A negative
    step counts as 0.

    Args:
      schedule: Any function of an int32 step.
      warmup_steps: Length of the ramp in optimizer steps, >= 1.
      init_value: Value at step 0, in units of the schedule. At 0 the first step of a
        run changes nothing.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `warmup_steps` is not a whole number >= 1.

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
    checks.count("schedules.warmup", warmup_steps=warmup_steps)

    def ramped(step: Any) -> F32:
        step = jnp.asarray(step)
        done, left = progress(step, warmup_steps)
        start = jnp.asarray(init_value, jnp.float32)
        peak = jnp.asarray(schedule(jnp.zeros_like(step))).astype(jnp.float32)
        rest = jnp.maximum(step - jnp.asarray(warmup_steps, step.dtype), 0)
        body = jnp.asarray(schedule(rest)).astype(jnp.float32)
        return jnp.where(left > 0, start * left + peak * done, body)

    return ramped
