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
    xs: np.ndarray,
    *,
    mode: str,
    atol: float,
    rtol: float,
    nonfinite: str,
    cumulative: bool = True,
    baseline: float | None = None,
) -> Iterator[Verdict]:
    """Yields the verdict on each value, in float32 arithmetic as the state has it."""
    sign = np.float32(1 if mode == "min" else -1)

    def below(y: np.float32) -> np.float32:
        return y - (np.float32(atol) + np.float32(rtol) * np.abs(y))

    best, bar, stale = np.float32(np.inf), np.float32(np.inf), 0
    highest = bar if baseline is None else below(sign * np.float32(baseline))
    for y in sign * xs:
        improved = bool(np.isfinite(y) and y < bar)
        fresh = improved and bool(y < highest)
        counted = not fresh and bool(np.isfinite(y) or nonfinite == "count")
        stale = 0 if fresh else stale + counted
        if np.isfinite(y) and y < (bar if cumulative else best):
            best, bar = y, below(y)
        yield Verdict(improved, counted, stale, float(sign * min(bar, highest)))
