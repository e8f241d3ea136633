"""What improvement means, in plain NumPy: the reference of all that waits for it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Verdict(NamedTuple):
    """What one value did."""

    improved: bool
    counted: bool  # as an update without improvement
    stale: int
    to_beat: float


def improvements(
    xs: np.ndarray, *, mode: str, atol: float, rtol: float, nonfinite: str
) -> Iterator[Verdict]:
    """Yields the verdict on each value, in float32 arithmetic as the state has it."""
    sign = np.float32(1 if mode == "min" else -1)
    to_beat, stale = np.float32(np.inf), 0
    for y in sign * xs:
        improved = bool(np.isfinite(y) and y < to_beat)
        counted = not improved and bool(np.isfinite(y) or nonfinite == "count")
        stale = 0 if improved else stale + counted
        if improved:
            to_beat = y - (np.float32(atol) + np.float32(rtol) * np.abs(y))
        yield Verdict(improved, counted, stale, float(sign * to_beat))
