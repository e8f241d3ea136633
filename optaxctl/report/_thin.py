"""Long series in few points, without losing a spike."""

from collections.abc import Callable

import numpy as np

POINTS = 2000


def thin(
    x: np.ndarray, y: np.ndarray, points: int = POINTS
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and the highest value of each of `points / 2` buckets.

    Buckets hold equally many points. The first and the last point are kept too. A
    bucket without a finite value leaves one that is not, so that the line breaks.

    Args:
      x: Steps, ascending.
      y: As many floats; NaN and infinity are gaps.
      points: How many may be left, about, >= 2.

    Returns:
      The steps and values that are left, in order; all if there are no more than
      `points`.
    """
    if len(x) <= points:
        return x, y
    finite = np.isfinite(y)
    width = -(-len(x) // (points // 2))
    buckets = -(-len(x) // width)

    def extreme(choose: Callable[..., np.ndarray], fill: float) -> np.ndarray:
        padded = np.full(buckets * width, fill)
        padded[: len(y)] = np.where(finite, y, fill)
        return choose(padded.reshape(buckets, width), axis=1)

    first = np.arange(buckets) * width
    low = first + extreme(np.argmin, np.inf)
    high = first + extreme(np.argmax, -np.inf)
    kept = np.unique(np.concatenate([[0, len(x) - 1], low, high]))
    return x[kept], y[kept]
