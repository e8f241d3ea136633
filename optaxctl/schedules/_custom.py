"""Any function of the step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, check_schedule, closed_form, whole
from optaxctl.schedules._geometric import bounded


def custom(function: Callable[[Any], Any], *, init_value: float = 1.0) -> Schedule:
    """Multiplies `init_value` by a function of the step.

        value = init_value * function(step)

    A negative step counts as 0.

    Args:
      function: A pure function of an int32 array, made of jax.numpy; what it reads
        from outside is fixed when it is first used.
      init_value: What it is multiplied by.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `function` is not a function, or `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.custom(lambda step: 0.5**step)
      >>> [float(schedule(step)) for step in (0, 1, 2)]
      [1.0, 0.5, 0.25]

    References:
      torch's `LambdaLR`.
    """
    check_schedule("schedules.custom", function=function)
    checks.finite("schedules.custom", init_value=init_value)

    @closed_form
    def course(step: Any) -> Any:
        return init_value * jnp.asarray(function(step), jnp.float32)

    return course


def multiplicative(
    function: Callable[[Any], Any], total_steps: int, *, init_value: float = 1.0
) -> Schedule:
    """Multiplies by a function of the step, step after step.

        value = init_value * function(1) * function(2) * ... * function(step)

    The products are computed once, of factors in float32, up to `total_steps`, where
    the value stays, and at most the largest float32. A negative step counts as 0.

    Args:
      function: A function of an int32 scalar, made of jax.numpy.
      total_steps: How many products to keep, >= 1, not traced; 4 bytes each.
      init_value: Value at step 0.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `function` is not a function, `total_steps` is not a whole number
        >= 1, or `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.multiplicative(lambda step: 1 / step, 4)
      >>> [round(float(schedule(step)), 4) for step in (0, 1, 2, 3, 9)]
      [1.0, 1.0, 0.5, 0.1667, 0.0417]

    References:
      torch's `MultiplicativeLR`.
    """
    check_schedule("schedules.multiplicative", function=function)
    checks.count("schedules.multiplicative", total_steps=total_steps)
    total_steps = whole(total_steps)
    checks.finite("schedules.multiplicative", init_value=init_value)
    factors = jax.vmap(lambda step: jnp.asarray(function(step), jnp.float32))
    products = bounded(jnp.cumprod(factors(jnp.arange(1, total_steps + 1))))
    products = jnp.concatenate([jnp.ones(1), products])

    @closed_form
    def course(step: Any) -> Any:
        at = jnp.minimum(step, total_steps).astype(jnp.int32)
        return bounded(init_value * products[at])

    return course
