"""Powers of one over the time."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, closed_form, periods, whole


def inverse_sqrt(
    timescale: float,
    *,
    shift: float = 0.0,
    init_value: float = 1.0,
    exponent: float = 0.5,
) -> Schedule:
    """Falls like one over the square root of the time.

        value = init_value * (1 + (step + shift) / timescale) ** -exponent

    A negative step counts as 0. It has no end and tends to 0.

    Args:
      timescale: Steps after which 1 / sqrt(2) is left, > 0. After a warm-up of w steps
        w continues the curve 1 / sqrt(step).
      shift: Steps to begin later on the curve, >= 0.
      init_value: Value at step 0 without a shift.
      exponent: Any other power, > 0.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `timescale` or `exponent` is not above 0, `shift` is negative, or
        `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.inverse_sqrt(100)
      >>> [round(float(schedule(step)), 4) for step in (0, 100, 300)]
      [1.0, 0.7071, 0.5]

    References:
      Vaswani et al., `Attention is all you need <https://arxiv.org/abs/1706.03762>`_,
      2017; Zhai et al., `Scaling Vision Transformers
      <https://arxiv.org/abs/2106.04560>`_, 2021. Transformers' `inverse_sqrt` is
      `warmup(inverse_sqrt(timescale), num_warmup_steps)`; the exponent is timm's
      `stable_power`.
    """
    name = "schedules.inverse_sqrt"
    checks.above(0, name, timescale=timescale, exponent=exponent)
    checks.at_least(0, name, shift=shift)
    checks.finite(name, init_value=init_value)

    @closed_form
    def course(step: Any) -> Any:
        time = (step.astype(jnp.float32) + shift) / timescale
        return jnp.float32(init_value) * jnp.power(1 + time, -exponent)

    return course


def inverse_time(
    decay_steps: int,
    *,
    decay_rate: float,
    init_value: float = 1.0,
    staircase: bool = False,
) -> Schedule:
    """Falls like one over the time.

        value = init_value / (1 + decay_rate * step / decay_steps)

    with step / decay_steps rounded down with `staircase`. A negative step counts as 0.
    It has no end and tends to 0.

    Args:
      decay_steps: Unit of the time in optimizer steps, >= 1.
      decay_rate: >= 0.
      init_value: Value at step 0.
      staircase: Whether to hold the value for `decay_steps` steps.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `decay_steps` is not a whole number >= 1, `decay_rate` is negative
        or not finite, or `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.inverse_time(100, decay_rate=1.0)
      >>> [round(float(schedule(step)), 4) for step in (0, 100, 300)]
      [1.0, 0.5, 0.25]

    References:
      Keras' `InverseTimeDecay`.
    """
    name = "schedules.inverse_time"
    checks.count(name, decay_steps=decay_steps)
    decay_steps = whole(decay_steps)
    checks.at_least(0, name, decay_rate=decay_rate)
    checks.finite(name, init_value=init_value)
    checks.flag(name, staircase=staircase)

    @closed_form
    def course(step: Any) -> Any:
        time = periods(step, decay_steps, staircase=staircase)
        return jnp.float32(init_value) / (1 + decay_rate * time)

    return course
