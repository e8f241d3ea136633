"""An exponential of the step."""

from typing import Any

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, closed_form, periods, whole
from optaxctl.schedules._geometric import geometric


def exponential(
    transition_steps: int = 1,
    *,
    decay_rate: float,
    init_value: float = 1.0,
    staircase: bool = False,
) -> Schedule:
    """Multiplies by `decay_rate` over every `transition_steps` steps.

        value = init_value * decay_rate ** (step / transition_steps)

    rounded down to whole exponents with `staircase`. A negative step counts as 0. With
    a rate above 1 the value ends at the largest float32.

    Args:
      transition_steps: Steps in which the factor is reached, >= 1.
      decay_rate: The factor, >= 0.
      init_value: Value at step 0.
      staircase: Whether to hold the value in between.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `transition_steps` is not a whole number >= 1, `decay_rate` is
        negative or not finite, or `init_value` is not finite.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.exponential(100, decay_rate=0.25)
      >>> [round(float(schedule(step)), 4) for step in (0, 50, 100)]
      [1.0, 0.5, 0.25]

    References:
      torch's `ExponentialLR` with `decay_rate = gamma`; Keras' `ExponentialDecay`;
      `optax.exponential_decay`.
    """
    name = "schedules.exponential"
    checks.count(name, transition_steps=transition_steps)
    transition_steps = whole(transition_steps)
    checks.at_least(0, name, decay_rate=decay_rate)
    checks.finite(name, init_value=init_value)
    checks.flag(name, staircase=staircase)

    @closed_form
    def course(step: Any) -> Any:
        times = periods(step, transition_steps, staircase=staircase)
        return geometric(init_value, decay_rate, times)

    return course
