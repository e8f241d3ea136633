"""One value for ever."""

from typing import Any

from optaxctl._core import checks
from optaxctl.schedules._course import Schedule, closed_form


def constant(value: float = 1.0) -> Schedule:
    """Stays at `value`.

        value(step) = value

    Args:
      value: The value, finite.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If `value` is not a finite number.

    Example:
      >>> import optaxctl as octl
      >>> float(octl.schedules.constant(0.5)(1000))
      0.5

    References:
      `optax.constant_schedule`; it returns a Python number.
    """
    checks.finite("schedules.constant", value=value)

    @closed_form
    def course(step: Any) -> Any:
        del step
        return value

    return course
