"""Values at given steps, with jumps or ways between them."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import (
    Schedule,
    Shape,
    between,
    check_shape,
    closed_form,
    fall,
    passed,
    progress,
)


def piecewise(
    boundaries: Sequence[int], values: Sequence[float], *, shape: Shape | None = None
) -> Schedule:
    """Takes the next of `values` at each of `boundaries`.

    With b_0 = 0 and b_i the boundaries, without a `shape` it jumps,

        value = values[i]    for b_i <= step < b_(i+1)

    and with a shape it is on its way from values[i] to values[i+1] there. After the
    last boundary it stays at the last value. A negative step counts as 0.

    Args:
      boundaries: k steps >= 0 in ascending order.
      values: k + 1 values.
      shape: None to jump, or the way between two values: `"linear"`, `"cosine"`,
        `"sqrt"` (1 - sqrt), or a function of the share of a way that is done to the
        share that is left.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If the boundaries are not ascending whole numbers >= 0, there is not
        one more value than boundaries, or a value is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.piecewise([10, 20], [1.0, 0.5, 0.25])
      >>> [float(schedule(step)) for step in (0, 9, 10, 20)]
      [1.0, 1.0, 0.5, 0.25]
      >>> schedule = octl.schedules.piecewise([10, 20], [0, 1, 0], shape="linear")
      >>> [float(schedule(step)) for step in (0, 5, 10, 15, 20)]
      [0.0, 0.5, 1.0, 0.5, 0.0]

    References:
      Keras' `PiecewiseConstantDecay` keeps the old value at the boundary itself.
      `optax.piecewise_constant_schedule` takes factors instead of values.
      `optax.piecewise_interpolate_schedule` is this with a shape.
    """
    name = "schedules.piecewise"
    checks.counts(name, ascending=True, boundaries=boundaries)
    checks.sequence(name, values=values)
    boundaries, values = tuple(boundaries), tuple(values)
    for i in range(len(values)):
        checks.finite(name, **{f"values[{i}]": values[i]})
    constraint = f"one number more than the {len(boundaries)} boundaries"
    checks.require(
        len(values) == len(boundaries) + 1, name, "values", values, constraint
    )
    if shape is not None:
        check_shape(name, shape=shape)

    @closed_form
    def course(step: Any) -> Any:
        ends = jnp.asarray(boundaries, jnp.int32)
        heights = jnp.asarray(values, jnp.float32)
        piece = passed(step, ends)
        if shape is None or not len(boundaries):
            return heights[piece]
        piece = jnp.minimum(piece, len(ends) - 1)
        begins = jnp.concatenate([jnp.zeros_like(ends, shape=1), ends[:-1]])
        begin, end = begins[piece], ends[piece]
        way = fall(shape, progress(step - begin, end - begin))
        return between(heights[piece], heights[piece + 1], *way)

    return course
