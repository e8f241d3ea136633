"""Up and all the way down: one cycle for a whole run."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl.schedules._course import (
    Progress,
    Schedule,
    Shape,
    between,
    check_shape,
    closed_form,
    fall,
    whole,
)


def one_cycle(
    total_steps: int,
    *,
    peak_value: float = 1.0,
    init_value: float | None = None,
    end_value: float | None = None,
    pct_start: float = 0.3,
    shape: Shape = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """Rises to a peak and falls far below where it began.

    With e = pct_start * total_steps - 1, and h the `shape`, which falls from 1 to 0,

        value = peak_value + (init_value - peak_value) * h(step / e)    for step <= e
        value = end_value + (peak_value - end_value)
            * h((step - e) / (total_steps - 1 - e))                     after it

    so the peak may lie between two steps. It stays where it is at the last step,
    total_steps - 1, which is `end_value` unless it still rises there. With
    `three_phase` it falls back to `init_value` first, in as many steps as it rose. A
    negative step counts as 0, and a phase of no length is over at once.

    The momentum goes the other way at the same time, and that is the same schedule
    upside down: `one_cycle(total_steps, init_value=0.95, peak_value=0.85,
    end_value=0.95)`.

    Args:
      total_steps: Length of the run in optimizer steps, >= 1.
      peak_value: Value at the peak.
      init_value: Value at step 0; None for peak_value / 25.
      end_value: Value at the end; None for init_value / 10,000.
      pct_start: Share of the run in which it rises, in [0, 1], at most 0.5 with
        `three_phase`.
      shape: The way of each phase: `"cosine"`, `"linear"`, `"sqrt"` (1 - sqrt), or a
        function of the share that is done to the share that is left.
      three_phase: Whether to return to `init_value` before the last fall.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `total_steps` is not a whole number >= 1, `pct_start` is out of its
        range, or a value is not finite.

    Example:
      >>> import optax, optaxctl as octl
      >>> rate = octl.schedules.one_cycle(100, peak_value=0.1)
      >>> beta = octl.schedules.one_cycle(
      ...     100, init_value=0.95, peak_value=0.85, end_value=0.95
      ... )
      >>> tx = optax.inject_hyperparams(optax.adam)(learning_rate=rate, b1=beta)
      >>> [round(float(rate(step)), 4) for step in (0, 29, 99)]
      [0.004, 0.1, 0.0]
      >>> [round(float(beta(step)), 4) for step in (0, 29, 99)]
      [0.95, 0.85, 0.95]

    References:
      Smith & Topin, `Super-convergence <https://arxiv.org/abs/1708.07120>`_, 2017.
      torch's `OneCycleLR`, which goes on past its end for one step, with a linear way
      to below 0. `optax.cosine_onecycle_schedule` peaks and ends a step later.
    """
    name = "schedules.one_cycle"
    checks.count(name, total_steps=total_steps)
    total_steps = whole(total_steps)
    checks.finite(name, peak_value=peak_value)
    init_value = peak_value / 25 if init_value is None else init_value
    checks.finite(name, init_value=init_value)
    end_value = init_value / 1e4 if end_value is None else end_value
    checks.finite(name, end_value=end_value)
    most = 0.5 if three_phase else 1.0
    checks.within(0, most, name, pct_start=pct_start)
    check_shape(name, shape=shape)
    checks.flag(name, three_phase=three_phase)

    values = [init_value, peak_value, end_value]
    if three_phase:
        values.insert(2, init_value)

    @closed_form
    def course(step: Any) -> Any:
        rise = jnp.float32(pct_start) * total_steps - 1  # may end between two steps
        ends = [i * rise for i in range(1, len(values) - 1)]
        last = jnp.asarray(total_steps) - 1
        # Counted back from the last step, a whole number, to be precise near it.
        left = _share((last - jnp.minimum(step, last)), last - ends[-1])
        value = _phase(values[-2:], shape, Progress(1 - left, left))
        for i in reversed(range(len(ends))):
            done = _share(step - i * rise, rise, none=1)
            phase = _phase(values[i : i + 2], shape, Progress(done, 1 - done))
            left_over = total_steps * (1 - (i + 1) * jnp.float32(pct_start)) + i
            value = jnp.where(last - step >= left_over, phase, value)
        return value

    return course


def _phase(values: Any, shape: Shape, way: Progress) -> Any:
    start, end = values
    return between(start, end, *fall(shape, way))


def _share(part: Any, whole: Any, none: float = 0) -> Any:
    """Returns part / whole within [0, 1], `none` of a phase that has no length."""
    share = jnp.clip(part / jnp.where(whole > 0, whole, 1), 0, 1)
    return jnp.where(whole > 0, share, none).astype(jnp.float32)
