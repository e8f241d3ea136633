"""How a signal moves from one window to the next."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from optaxctl._core.statistics import Window
from optaxctl._core.types import F32


class Trend(NamedTuple):
    """What two successive windows show, in units of log loss or of the mean."""

    mean: F32  # of the newer window, of what is watched
    cv: F32  # deviation about the regression line
    slope: F32  # per update
    improvement: F32  # from the older window's mean to the newer's


def trend(window: Window, unit: Callable[[F32], F32]) -> Trend:
    """Compares the newer half of the ring with the older, from their newest value."""
    size = window.values.size // 2
    newest = window.values[-1]
    older, newer = jnp.split(window.values - newest, 2)
    mean = jnp.mean(newer)
    t = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    slope = jnp.sum(t * newer) / jnp.sum(t * t)
    deviation = jnp.sqrt(jnp.mean((newer - mean - slope * t) ** 2))
    level = newest + mean
    per = jnp.maximum(unit(level), jnp.finfo(jnp.float32).tiny)
    gain = (jnp.mean(older) - mean) / per
    return Trend(level, deviation / per, slope / per, gain)
