"""A hyperbolic tangent from one value to another."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, between, closed_form, progress, whole


def tanh(
    decay_steps: int,
    *,
    lower: float = -7.0,
    upper: float = 3.0,
    init_value: float = 1.0,
    end_value: float = 0.0,
) -> Schedule:
    """Falls from `init_value` to `end_value` along a hyperbolic tangent.

    With p = step / decay_steps < 1,

        value = end_value
            + (init_value - end_value) * (1 - tanh(lower + (upper - lower) * p)) / 2

    and `end_value` from `decay_steps` on. With finite bounds it starts a little below
    `init_value` and its last step is a little above `end_value`. A negative step
    counts as 0.

    Args:
      decay_steps: Length of the fall in optimizer steps, >= 1.
      lower: Argument of the tangent at step 0.
      upper: Argument at the end, above `lower`.
      init_value: Value that it comes from.
      end_value: Value from `decay_steps` on.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `decay_steps` is not a whole number >= 1, `upper` is not above
        `lower`, or a number is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.tanh(100)
      >>> [round(float(schedule(step)), 4) for step in (0, 70, 90, 100)]
      [1.0, 0.5, 0.018, 0.0]

    References:
      Hsueh et al., `Stochastic Gradient Descent with Hyperbolic-Tangent Decay
      <https://arxiv.org/abs/1806.01593>`_, 2018; timm's `tanh`.
    """
    name = "schedules.tanh"
    checks.count(name, decay_steps=decay_steps)
    decay_steps = whole(decay_steps)
    checks.finite(name, lower=lower, upper=upper)
    checks.finite(name, init_value=init_value, end_value=end_value)
    checks.require(upper > lower, name, "upper", upper, f"above lower = {lower}")

    @closed_form
    def course(step: Any) -> Any:
        done, left = progress(step, decay_steps)
        height = (1 - jnp.tanh(lower * left + upper * done)) / 2
        return between(init_value, end_value, jnp.where(left > 0, height, 0))

    return course
