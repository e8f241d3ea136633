"""What a run can be told while it goes on, and within which bounds."""

import math
from collections.abc import Mapping
from typing import Any

from optaxctl._core.closest import did_you_mean
from optaxctl.host._format import number

BOUNDS = {"lr_scale": (0.0, 10.0), "learning_rate": (0.0, 1e3)}
"""What can be set, with the lowest and the highest value."""


def check(what: Mapping[str, Any]) -> None:
    """Refuses everything but `stop=True`, or one thing that can be set, in its bounds.

    Raises:
      ValueError: With what is allowed.
    """
    if len(what) != 1:
        raise ValueError(f"A command says one thing, got {', '.join(what) or 'none'}.")
    ((name, value),) = what.items()
    if name == "stop":
        if value is not True:
            raise ValueError(f"`stop` must be True, got {value!r}.")
        return
    if name not in BOUNDS:
        known = [*BOUNDS, "stop"]
        raise ValueError(
            f"A run cannot be told `{name}`; it can be told {', '.join(known)}."
            + did_you_mean(name, known)
        )
    low, high = BOUNDS[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or not math.isfinite(value):
        raise ValueError(
            f"`{name}` must be a number >= {number(low)} and <= {number(high)}, got "
            f"{value!r}."
        )
