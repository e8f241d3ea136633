"""Up, along, and down: trapezoids."""

from optaxctl._core import checks
from optaxctl.schedules._constant import constant
from optaxctl.schedules._cooldown import cooldown
from optaxctl.schedules._course import Schedule, Shape, check_shape, total, whole
from optaxctl.schedules._warmup import warmup


def warmup_stable_decay(
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    *,
    peak_value: float = 1.0,
    init_value: float = 0.0,
    end_value: float = 0.0,
    warmup_shape: Shape = "linear",
    decay_shape: Shape = "sqrt",
) -> Schedule:
    """Warms up, stays at its peak, and falls at the end.

    This is `cooldown(warmup(constant(peak_value), ...), ...)`. With w, s and d the
    lengths and h a shape, which falls from 1 to 0,

        value = init_value + (peak_value - init_value) * h(1 - step / w)   for step < w
        value = peak_value                                             for step < w + s
        value = end_value + (peak_value - end_value) * h((step - w - s) / d)   after it

    It stays at `end_value` from w + s + d on. A negative step counts as 0.

    Args:
      warmup_steps: Length of the rise in optimizer steps, >= 0.
      stable_steps: Length of the plateau, >= 0.
      decay_steps: Length of the fall, >= 0.
      peak_value: Value of the plateau.
      init_value: Value at step 0.
      end_value: Value from warmup_steps + stable_steps + decay_steps on.
      warmup_shape: The way up, as `decay_shape` seen from the end.
      decay_shape: The way down: `"sqrt"` (1 - sqrt), `"linear"`, `"cosine"`, or a
        function of the share that is done to the share that is left.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If a step count is not a whole number >= 0, a shape is unknown, or a
        value is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.warmup_stable_decay(10, 80, 10)
      >>> [round(float(schedule(step)), 4) for step in (0, 5, 50, 90, 95, 100)]
      [0.0, 0.5, 1.0, 1.0, 0.2929, 0.0]

    References:
      Hu et al., `MiniCPM <https://arxiv.org/abs/2404.06395>`_, 2024; Hägele et al.,
      `Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations
      <https://arxiv.org/abs/2405.18392>`_, 2024, who found 1 - sqrt the best way down.
      Transformers' `warmup_stable_decay`, timm's and MaxText's `wsd`.
    """
    name = "schedules.warmup_stable_decay"
    checks.count(name, low=0, warmup_steps=warmup_steps)
    checks.count(name, low=0, stable_steps=stable_steps, decay_steps=decay_steps)
    checks.finite(name, peak_value=peak_value, init_value=init_value)
    checks.finite(name, end_value=end_value)
    check_shape(name, warmup_shape=warmup_shape, decay_shape=decay_shape)
    risen = warmup(
        constant(peak_value), warmup_steps, init_value=init_value, shape=warmup_shape
    )
    start = total(whole(warmup_steps), whole(stable_steps))
    return cooldown(risen, start, decay_steps, end_value=end_value, shape=decay_shape)
