"""Half cosines, one after another."""

from optaxctl._core import checks
from optaxctl.schedules._cosine import cosine
from optaxctl.schedules._course import Schedule
from optaxctl.schedules._repeat import check_cycles, repeat


def cosine_restarts(
    first_decay_steps: int,
    *,
    t_mul: float = 1,
    m_mul: float = 1.0,
    cycles: int | None = None,
    init_value: float = 1.0,
    end_value: float = 0.0,
) -> Schedule:
    """Falls along half a cosine, jumps up, and falls again.

    This is `repeat(cosine(first_decay_steps, ...), first_decay_steps, ...)`: cycle i
    is first_decay_steps * t_mul ** i steps long and falls from

        end_value + (init_value - end_value) * m_mul ** i

    to `end_value`. A negative step counts as 0.

    Args:
      first_decay_steps: Length of the first cycle in optimizer steps, >= 1.
      t_mul: Length of a cycle in lengths of the one before: a whole number >= 1, which
        may be traced as an integer, or another number >= 1.1.
      m_mul: Height of a cycle in heights of the one before, >= 0.
      cycles: After how many of them it stays at `end_value`, >= 1; None for no end.
      init_value: Value at step 0.
      end_value: Value at the end of each cycle.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `first_decay_steps` or `cycles` is not a whole number >= 1, `t_mul`
        is neither 1 nor >= 1.1, `m_mul` is negative, or a value is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.cosine_restarts(10, t_mul=2, m_mul=0.5)
      >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20, 30)]
      [1.0, 0.5, 0.5, 0.25, 0.25]

    References:
      Loshchilov & Hutter, `SGDR <https://arxiv.org/abs/1608.03983>`_, 2016. Keras'
      `CosineDecayRestarts` with `alpha = end_value / init_value`;
      `optax.sgdr_schedule`. torch's `CosineAnnealingWarmRestarts`, where its `step` is
      given an epoch, finds the restart by a logarithm of floats and misses some, for
      `T_mult = 3` the one at 121 `T_0`.
    """
    name = "schedules.cosine_restarts"
    checks.count(name, first_decay_steps=first_decay_steps)
    checks.finite(name, init_value=init_value, end_value=end_value)
    check_cycles(name, cycles, t_mul, m_mul)
    body = cosine(first_decay_steps, init_value=init_value, end_value=end_value)
    return repeat(body, first_decay_steps, cycles=cycles, t_mul=t_mul, m_mul=m_mul)
