"""Run a schedule again and again, longer and lower if wanted."""

from collections.abc import Mapping
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optaxctl._core import checks
from optaxctl.schedules._course import (
    LAST,
    AnySchedule,
    Schedule,
    check_schedule,
    closed_form,
    passed,
    split,
    whole,
)
from optaxctl.schedules._geometric import bounded, geometric


@overload
def repeat(
    schedule: AnySchedule,
    steps: int,
    *,
    cycles: int | None = None,
    t_mul: float = 1,
    m_mul: float = 1.0,
) -> Schedule: ...
@overload
def repeat(
    schedule: Mapping[str, AnySchedule],
    steps: int,
    *,
    cycles: int | None = None,
    t_mul: float = 1,
    m_mul: float = 1.0,
) -> dict[str, Schedule]: ...


def repeat(
    schedule: Any,
    steps: int,
    *,
    cycles: int | None = None,
    t_mul: float = 1,
    m_mul: float = 1.0,
) -> Any:
    """Restarts a schedule every `steps` steps.

    Cycle i = 0, 1, ... begins at step S_i and is t_mul ** i times as long as the first,
    so S_(i+1) = S_i + steps * t_mul ** i. With s the schedule and e = s(steps),

        value = e + (s((step - S_i) / t_mul ** i) - e) * m_mul ** i

    so every cycle rises `m_mul` times as far above the end as the one before. After
    `cycles` of them it stays at e. The cycle is found among whole numbers, never by a
    logarithm. A negative step counts as 0.

    Args:
      schedule: A function of a step, of a fraction of one too if `t_mul` is not 1; or a
        dict of them that keep time together.
      steps: Length of the first cycle in optimizer steps, >= 1.
      cycles: How many there are, >= 1; None for no end.
      t_mul: Length of a cycle in lengths of the one before: a whole number >= 1, which
        may be traced as an integer, or another number >= 1.1.
      m_mul: Height of a cycle in heights of the one before, >= 0.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values; a dict of them
      for a dict.

    Raises:
      ValueError: If `schedule` is not a function, `steps` or `cycles` is not a whole
        number >= 1, `t_mul` is neither 1 nor >= 1.1, or `m_mul` is negative.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.repeat(octl.schedules.linear(4), 4, m_mul=0.5)
      >>> [float(schedule(step)) for step in (0, 2, 4, 6, 8)]
      [1.0, 0.5, 0.5, 0.25, 0.25]

    References:
      The arguments are those of Keras' `CosineDecayRestarts`; `t_mul` is torch's
      `T_mult`. timm's `cycle_decay` shrinks the peak itself instead of its height above
      the end, which is the same where the end is 0. timm, and torch where its `step` is
      given an epoch, find the cycle by a logarithm of floats, which puts some steps
      into the wrong one.
    """
    checks.count("schedules.repeat", steps=steps)
    check_cycles("schedules.repeat", cycles, t_mul, m_mul)
    steps = whole(steps)
    if isinstance(schedule, Mapping):
        options = {"cycles": cycles, "t_mul": t_mul, "m_mul": m_mul}
        return {key: repeat(one, steps, **options) for key, one in schedule.items()}
    check_schedule("schedules.repeat", schedule=schedule)
    return _repeated(schedule, steps, cycles, t_mul, m_mul)


def _repeated(
    body: AnySchedule, steps: Any, cycles: Any, t_mul: Any, m_mul: Any
) -> Schedule:
    @closed_form
    def course(step: Any) -> Any:
        cycle, at = _place(step, steps, t_mul)
        end = jnp.asarray(body(jnp.full_like(step, steps)), jnp.float32)
        value = jnp.asarray(body(at), jnp.float32)
        if not checks.is_one(m_mul):
            value = bounded(end + (value - end) * geometric(1, m_mul, cycle))
        return value if cycles is None else jnp.where(cycle < cycles, value, end)

    return course


def _place(step: Any, steps: Any, t_mul: Any) -> tuple[Any, Any]:
    """Returns the number of the cycle, and where `step` is in the first one's time."""
    even = split(step, steps)
    if checks.is_one(t_mul):
        return even
    if isinstance(t_mul, Tracer):
        t_mul = t_mul.astype(jnp.int32)
        grown = _in_whole(step, steps, *_traced_table(t_mul))
        return jax.tree.map(lambda a, b: jnp.where(t_mul == 1, a, b), even, grown)
    lengths, begins = _table(float(t_mul))
    if float(t_mul).is_integer():
        return _in_whole(step, steps, jnp.asarray(lengths), jnp.asarray(begins))
    begins = begins * steps  # between two steps, in float64 unless `steps` is traced
    first = jnp.ceil(begins) if isinstance(begins, Tracer) else np.ceil(begins)
    before = jnp.asarray(first - begins, jnp.float32)
    kept = jnp.minimum if isinstance(begins, Tracer) else np.minimum
    first = jnp.asarray(kept(first, LAST), jnp.int32)
    cycle = jnp.minimum(passed(step, first), jnp.sum(first < LAST)) - 1
    within = step - first[cycle] + before[cycle]
    return cycle, within / jnp.asarray(lengths, jnp.float32)[cycle]


def _in_whole(step: Any, steps: Any, lengths: Any, begins: Any) -> tuple[Any, Any]:
    # A begin past the last step there is would wrap around.
    begins = jnp.where(begins > LAST // jnp.asarray(steps), LAST, begins * steps)
    cycle = jnp.minimum(passed(step, begins), jnp.sum(begins < LAST)) - 1
    return cycle, (step - begins[cycle]) / lengths[cycle]


def _table(t_mul: float) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and begins of the cycles in lengths of the first, up to 2^31 - 1."""
    lengths = t_mul ** np.arange(2 + int(np.log(LAST) / np.log(t_mul)))
    begins = np.cumsum(lengths) - lengths
    kind = np.int32 if t_mul.is_integer() else np.float64
    kept = begins <= LAST
    return np.minimum(lengths[kept], LAST).astype(kind), begins[kept].astype(kind)


def _traced_table(t_mul: Any) -> tuple[Any, Any]:
    lengths, begins = [jnp.int32(1)], [jnp.int32(0)]
    for _ in range(31):  # of 2 and more, the 31st power is past the last step
        begin, length = begins[-1], lengths[-1]
        begins.append(jnp.where(begin > LAST - length, LAST, begin + length))
        lengths.append(jnp.where(length > LAST // t_mul, LAST, length * t_mul))
    return jnp.stack(lengths), jnp.stack(begins)


def check_cycles(name: str, cycles: Any, t_mul: Any, m_mul: Any) -> None:
    """Requires a number of cycles, and how they grow and shrink."""
    if cycles is not None:
        checks.count(name, cycles=cycles)
    checks.at_least(0, name, m_mul=m_mul)
    checks.at_least(1, name, t_mul=t_mul)
    if not isinstance(t_mul, Tracer):
        ok = t_mul == 1 or t_mul >= 1.1
        checks.require(ok, name, "t_mul", t_mul, "1 or >= 1.1")
    elif not jnp.issubdtype(t_mul.dtype, jnp.integer):
        raise ValueError(
            f"`{name}(t_mul=...)` must be an integer array where it is traced, got "
            f"{t_mul.dtype}. Only plain numbers may have a fraction."
        )
