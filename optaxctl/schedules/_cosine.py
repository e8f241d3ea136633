"""Half a cosine from one value to another."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.types import F32
from optaxctl.schedules._progress import progress


def cosine(
    decay_steps: int, *, init_value: float = 1.0, end_value: float = 0.0
) -> Callable[[Any], F32]:
    """Falls from `init_value` to `end_value` along half a cosine.

    With p = min(max(step, 0), decay_steps) / decay_steps,

        value = end_value + (init_value - end_value) * (1 + cos(pi * p)) / 2

    computed as sin^2(pi * (1 - p) / 2), which keeps its precision near the end. It
    stays at `end_value` after `decay_steps`.

    Args:
      decay_steps: Length of the fall in optimizer steps, >= 1.
      init_value: Value at step 0. The default makes the schedule a factor, for
        `lr.follow`; give a learning rate to use it in an optimizer directly.
      end_value: Value from `decay_steps` on.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `decay_steps` is not a whole number >= 1.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.cosine(100, init_value=0.1)
      >>> [round(float(schedule(step)), 4) for step in (0, 50, 100, 200)]
      [0.1, 0.05, 0.0, 0.0]

    References:
      Loshchilov & Hutter, `SGDR <https://arxiv.org/abs/1608.03983>`_, 2016.
      `optax.cosine_decay_schedule` with `alpha = end_value / init_value`. torch's
      `CosineAnnealingLR` rises again after `T_max`; this one does not.
    """
    checks.count("schedules.cosine", decay_steps=decay_steps)

    def schedule(step: Any) -> F32:
        left = progress(step, decay_steps).left
        share = jnp.sin(jnp.float32(jnp.pi / 2) * left) ** 2
        start = jnp.asarray(init_value, jnp.float32)
        end = jnp.asarray(end_value, jnp.float32)
        return start * share + end * (1 - share)

    return schedule
