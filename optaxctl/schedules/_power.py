"""A power of the tokens seen, under a ceiling."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, closed_form


def power(
    max_value: float,
    *,
    tokens_per_step: float,
    batch_size: float,
    amplitude: float = 4.6,
    exponent: float = -0.51,
) -> Schedule:
    """Follows a power law of the tokens seen, which does not know the horizon.

    With n = tokens_per_step * step,

        value = min(max_value, batch_size * amplitude * n ** exponent)

    and `max_value` at step 0. A negative step counts as 0.

    Args:
      max_value: The ceiling, > 0.
      tokens_per_step: Tokens per optimizer step, > 0.
      batch_size: Sequences per optimizer step, > 0.
      amplitude: a of the paper, > 0.
      exponent: b of the paper, < 0.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If an argument is out of its range.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.power(
      ...     0.02, tokens_per_step=1024 * 4096, batch_size=1024
      ... )
      >>> [round(float(schedule(step)), 4) for step in (0, 10_000, 100_000)]
      [0.02, 0.018, 0.0056]

    References:
      Shen et al., `Power Scheduler <https://arxiv.org/abs/2408.13359>`_, 2024. Put
      `warmup` before it and `cooldown` after it, as they do.
    """
    name = "schedules.power"
    checks.above(0, name, max_value=max_value, tokens_per_step=tokens_per_step)
    checks.above(0, name, batch_size=batch_size, amplitude=amplitude)
    checks.below(0, name, exponent=exponent)

    @closed_form
    def course(step: Any) -> Any:
        scale = jnp.float32(batch_size) * amplitude
        # In two factors, since the number of tokens may be too large for a float32.
        steps = jnp.where(step == 0, 1, step).astype(jnp.float32)
        law = scale * jnp.power(jnp.float32(tokens_per_step), exponent)
        law = jnp.minimum(jnp.float32(max_value), law * jnp.power(steps, exponent))
        return jnp.where(step == 0, jnp.float32(max_value), law)

    return course
