"""What every schedule is made of: a step, how far it has come, and a way down."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from optaxctl._core import checks
from optaxctl._core.types import F32

Schedule = Callable[[Any], F32]
"""A function of a step to a float32 value, of the step's shape."""

AnySchedule = Callable[[Any], Any]
"""What is taken for a schedule: Optax's own and those of users too."""

Shape = Literal["linear", "cosine", "sqrt"] | Callable[[Any], Any]
"""The way from 1 down to 0: by name, or as a function of the share that is done."""

LAST = 2**31 - 1


def closed_form(value: Callable[[Any], Any]) -> Schedule:
    """Makes a schedule of a function of a clean step.

    Clean is an int32, or a float32 for a fraction of a step, and not negative. It is
    compiled, so that a value does not depend on whether it was asked for alone: XLA
    rounds `a * b + c` once where it can, and eager operations always round twice.
    """

    def schedule(step: Any) -> F32:
        step = clean(step)
        return jnp.broadcast_to(jnp.asarray(value(step), jnp.float32), step.shape)

    # As tracebacks and profiles show it.
    schedule.__name__ = value.__qualname__.partition(".")[0]
    schedule.__qualname__ = f"schedules.{schedule.__name__}"
    return jax.jit(schedule, inline=True)


def whole(count: Any) -> Any:
    """Returns a count as a Python int, or as an int32 where it is traced."""
    return count.astype(jnp.int32) if isinstance(count, Tracer) else int(count)


def total(first: Any, second: Any) -> Any:
    """Returns the sum of two whole counts, at most the last step there is."""
    if isinstance(first, int) and isinstance(second, int):
        return min(first + second, LAST)
    return jnp.where(first > LAST - second, LAST, first + second)


def clean(step: Any) -> Any:
    """Returns the step as int32, or float32 if it has a fraction; at least 0."""
    step = jnp.asarray(step)
    if jnp.issubdtype(step.dtype, jnp.floating):
        return jnp.maximum(step.astype(jnp.float32), 0)
    if step.dtype != bool and jnp.iinfo(step.dtype).max > LAST:
        step = jnp.minimum(step, LAST)
    return jnp.maximum(step.astype(jnp.int32), 0)


def split(step: Any, steps: Any) -> tuple[Any, Any]:
    """Returns how often `steps` go into a clean step, and the rest.

    Neither is negative, so that of integers XLA's quotient is the right one; that of
    `//`, which rounds down, takes seven operations more.
    """
    if jnp.issubdtype(step.dtype, jnp.floating):
        return step // steps, step % steps
    step, steps = jnp.broadcast_arrays(step, jnp.asarray(steps, step.dtype))
    return jax.lax.div(step, steps), jax.lax.rem(step, steps)


def periods(step: Any, steps: Any, *, staircase: bool) -> Any:
    """Returns how often `steps` go into a clean step, with or without the fraction."""
    times, rest = split(step, steps)
    return times if staircase else times + rest / steps


def passed(step: Any, points: Any) -> Any:
    """Returns how many of `points` are at or before the step."""
    points = jnp.reshape(points, (1,) * step.ndim + (-1,))
    return jnp.sum(jnp.expand_dims(step, -1) >= points, -1)


class Progress(NamedTuple):
    """The share of a way that is done and the share that is left, both in [0, 1]."""

    done: F32
    left: F32


def progress(step: Any, steps: Any) -> Progress:
    """Returns `step / steps` and its complement, clamped at both ends.

    The remainder is subtracted as an integer, so both shares are right to an ulp of
    themselves, near the end of a way of 2^31 - 1 steps too. A way without steps
    is done at step 0, and not before it.
    """
    step, steps = jnp.asarray(step), jnp.asarray(steps)
    if not jnp.issubdtype(step.dtype, jnp.integer):
        steps = steps.astype(jnp.float32)
    at = jnp.clip(step, 0, steps)
    length = jnp.maximum(steps, 1).astype(jnp.float32)
    done = jnp.where(steps > 0, at.astype(jnp.float32) / length, step >= 0)
    left = jnp.where(steps > 0, (steps - at).astype(jnp.float32) / length, step < 0)
    # The bound keeps XLA from taking a power of a share as a quotient of two powers.
    return Progress(jnp.minimum(done, 1), jnp.minimum(left, 1))


def fall(shape: Shape, way: Progress) -> tuple[F32, F32]:
    """Returns the height on the way from 1 to 0, precise near the end; the depth."""
    if shape == "linear":
        return way.left, way.done
    if shape == "cosine":  # (1 + cos(pi * done)) / 2
        height = jnp.sin(jnp.float32(jnp.pi / 2) * way.left) ** 2
    elif shape == "sqrt":  # 1 - sqrt(done)
        height = way.left / (1 + jnp.sqrt(way.done))
    else:
        height = jnp.asarray(shape(way.done), jnp.float32)
    return height, 1 - height


def between(start: Any, end: Any, height: F32, depth: F32 | None = None) -> F32:
    """Returns `start` at height 1, `end` at depth 1, and nothing beyond them."""
    start, end = jnp.float32(start), jnp.float32(end)
    depth = 1 - height if depth is None else depth
    value = start * height + end * depth
    kept = jnp.clip(value, jnp.minimum(start, end), jnp.maximum(start, end))
    # A bound that is touched by rounding is no reason to lose the slope.
    return value + jax.lax.stop_gradient(kept - value)


def check_shape(who: str, **arguments: Any) -> None:
    """Requires a shape: the name of one, or a function."""
    for name, shape in arguments.items():
        if not callable(shape):
            checks.one_of(who, name, shape, ("linear", "cosine", "sqrt"))


def check_schedule(who: str, **arguments: Any) -> None:
    """Requires a function of the step."""
    for name, value in arguments.items():
        if not callable(value):
            raise ValueError(
                f"`{who}({name}=...)` must be a function of the step, got {value!r}. "
                "For a fixed value use `schedules.constant`."
            )
