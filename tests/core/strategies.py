"""Random tapes: any range, any offset, ties, and broken values."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

STEPS = 64

updates = st.integers(1, 8)
margins = st.sampled_from([0.0, 0.125, 0.5])


@st.composite
def tapes(draw: Any, *, broken: bool = True, steps: int = STEPS) -> np.ndarray:
    """Draws a float32 series: a lattice of few dyadic values, or a random walk.

    On the lattice ties are common and float32 arithmetic is exact, so that a strict
    comparison can be told from a lax one.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        scale = 2.0 ** draw(st.integers(-6, 6))
        x = (rng.integers(-8, 9, steps) + draw(st.integers(-16, 16))) * scale
    else:
        offset = draw(st.sampled_from([0.0, -1.0, 1.0])) * 10 ** draw(st.floats(-2, 3))
        x = offset + 10 ** draw(st.floats(-2, 2)) * np.cumsum(rng.normal(size=steps))
    if broken:
        hit = rng.random(steps) < draw(st.sampled_from([0.0, 0.1, 0.5]))
        x = np.where(hit, rng.choice([np.nan, np.inf, -np.inf], steps), x)
    return x.astype(np.float32)


@st.composite
def positive_tapes(draw: Any, *, broken: bool = True) -> np.ndarray:
    """Draws losses or norms: log-normal around a drifting level, with spikes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    level = draw(st.floats(-9, 9)) + np.linspace(0, draw(st.floats(-3, 3)), STEPS)
    log = level + draw(st.floats(0.02, 0.5)) * rng.normal(size=STEPS)
    x = np.exp(log + np.where(rng.random(STEPS) < 0.1, rng.exponential(3, STEPS), 0))
    if broken:
        hit = rng.random(STEPS) < 0.1
        x = np.where(hit, rng.choice([np.nan, np.inf, -np.inf], STEPS), x)
    return x.astype(np.float32)
