"""How fastai and Lightning suggest a learning rate, in their own words."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.floating]


class Fastai(NamedTuple):
    """What fastai suggests on a window of a curve; NaN where it would raise."""

    valley: float
    steep: float
    minimum: float
    slide: float


def fastai(lrs: Curve, losses: Curve, *, last_rate: bool = False) -> Fastai:
    """`last_rate`: a valley that begins before the window suggests its last rate."""
    n = len(lrs)
    if n == 0:
        return Fastai(np.nan, np.nan, np.nan, np.nan)
    lengths = [1] * n
    start = end = 0
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[end] < lengths[i]:
                end, start = i, i - lengths[i]
    third = (end - start) / 3
    middle = start + int(third) + int(third / 2)
    valley = lrs[middle if last_rate else max(middle, 0)]

    with np.errstate(invalid="ignore"):  # differences of infinities
        steep = lrs[np.argmin(np.diff(losses))] if n > 1 else np.nan
        slide = np.nan
        if n >= 16:
            slopes, right, left = np.gradient(losses), -1, -16
            slide = lrs[left]
            while left >= -n and abs(slopes[right] - slopes[left]) > 0.005:
                slide, right, left = lrs[left], right - 1, left - 1
    return Fastai(valley, steep, lrs[np.argmin(losses)] / 10, slide)


def lightning(lrs: Curve, losses: Curve) -> float:
    """Of a whole curve; NaN where Lightning returns None."""
    finite = np.isfinite(losses[10:-1])
    lrs, losses = lrs[10:-1][finite], losses[10:-1][finite]
    return lrs[np.argmin(np.gradient(losses, lrs))] if len(lrs) > 1 else np.nan
