"""A series as a small chart of characters."""

import math
from collections.abc import Sequence
from typing import NamedTuple

_EIGHTHS = " ▁▂▃▄▅▆▇█"


class Bars(NamedTuple):
    """A chart.

    Attributes:
      lines: From the top down, a character for each value.
      low: What a bar of no height means.
      high: What the highest bar means.
      is_log: Whether the scale is logarithmic.
    """

    lines: list[str]
    low: float
    high: float
    is_log: bool


def bars(values: Sequence[float], height: int, *, zero: bool = False) -> Bars | None:
    """Draws values as bars; None if there are none.

    The scale is logarithmic if the values are positive and spread over a decade, and
    begins at 0 if `zero`, else at the lowest.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = 0.0 if zero else min(finite), max(finite)
    is_log = low > 0 and high >= 10 * low
    place = math.log if is_log else float
    span = place(high) - place(low)
    full = 8 * height

    def level(value: float) -> int:
        if not math.isfinite(value):
            return 0
        share = (place(value) - place(low)) / span if span else 0.5
        return max(1, round(full * share))

    levels = [level(value) for value in values]
    lines = [
        "".join(_EIGHTHS[min(max(level - 8 * row, 0), 8)] for level in levels)
        for row in reversed(range(height))
    ]
    return Bars(lines, low, high, is_log)
