"""Up and down without end."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, closed_form, split, total, whole
from optaxctl.schedules._geometric import bounded, geometric


def cyclic(
    step_size_up: int,
    *,
    step_size_down: int | None = None,
    base_value: float = 0.0,
    max_value: float = 1.0,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
    scale_fn: Callable[[Any], Any] | None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
) -> Schedule:
    """Goes up and down between two values in straight lines.

    With h the height of a triangle that rises for u = `step_size_up` steps and falls
    for d = `step_size_down`, and k = floor(1 + step / (u + d)) the cycle,

        value = base_value + (max_value - base_value) * h * f

    and f = 1 for `triangular`, 1 / 2 ** (k - 1) for `triangular2`, gamma ** step for
    `exp_range`, or scale_fn(k), or scale_fn(step) with `scale_mode="iterations"`. A
    negative step counts as 0.

    The momentum goes the other way at the same time, and that is the same schedule
    with its values exchanged: `cyclic(step_size_up, base_value=0.9, max_value=0.8)`.

    Args:
      step_size_up: Steps up, >= 1.
      step_size_down: Steps down, >= 1; None for as many as up.
      base_value: Value at step 0 and at the end of each cycle.
      max_value: Value of the first peak; may be the smaller one.
      mode: How the peaks change.
      gamma: Factor per step of `exp_range`, >= 0.
      scale_fn: A function of an int32 array to be used instead of `mode`.
      scale_mode: What `scale_fn` is a function of.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If a step count is not a whole number >= 1, `mode` or `scale_mode` is
        unknown, `gamma` is negative or given for another mode than `exp_range`, or a
        value is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.cyclic(4, mode="triangular2")
      >>> [float(schedule(step)) for step in (0, 2, 4, 8, 12)]
      [0.0, 0.5, 1.0, 0.0, 0.5]

    References:
      Smith, `Cyclical Learning Rates <https://arxiv.org/abs/1506.01186>`_, 2015.
      torch's `CyclicLR`.
    """
    name = "schedules.cyclic"
    step_size_down = step_size_up if step_size_down is None else step_size_down
    checks.count(name, step_size_up=step_size_up, step_size_down=step_size_down)
    up, down = whole(step_size_up), whole(step_size_down)
    checks.finite(name, base_value=base_value, max_value=max_value)
    checks.one_of(name, "mode", mode, ("triangular", "triangular2", "exp_range"))
    checks.one_of(name, "scale_mode", scale_mode, ("cycle", "iterations"))
    checks.at_least(0, name, gamma=gamma)
    ranged = mode == "exp_range" and scale_fn is None
    checks.require(
        ranged or checks.is_one(gamma), name, "gamma", gamma, "1 unless `exp_range`"
    )

    def scale(step: Any, cycle: Any) -> Any:
        if scale_fn is not None:
            given = cycle if scale_mode == "cycle" else step
            return jnp.asarray(scale_fn(given), jnp.float32)
        if mode == "triangular2":
            return geometric(1, 0.5, cycle - 1)
        return geometric(1, gamma, step) if ranged else jnp.float32(1)

    @closed_form
    def course(step: Any) -> Any:
        cycle, at = split(step, total(up, down))
        height = jnp.where(at <= up, at / up, (down - (at - up)) / down)
        height = height.astype(jnp.float32) * scale(step, 1 + cycle)
        # Not kept below the peak: a `scale_fn` may mean to pass it.
        return bounded(base_value + (jnp.float32(max_value) - base_value) * height)

    return course
