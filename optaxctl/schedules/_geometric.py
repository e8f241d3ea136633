"""Powers of a fixed ratio."""

import math
from typing import Any

import jax.numpy as jnp
from jax.core import Tracer

from optaxctl._core.types import F32


def geometric(start: Any, ratio: Any, times: Any) -> F32:
    """Returns `start * ratio ** times`, at most the largest float32.

    The logarithm of a number is taken in float64: rounded to float32 first, 0.99999
    would be off by 3 % after a million steps.
    """
    times = jnp.asarray(times).astype(jnp.float32)
    # Not `exp2`, which XLA takes for exp(x * ln 2) and rounds powers of two.
    raised = jnp.power(jnp.float32(2), times * _log2(ratio))
    power = jnp.where(times == 0, 1, jnp.where(jnp.asarray(ratio) > 0, raised, 0))
    return bounded(jnp.float32(start) * bounded(power))


def bounded(value: F32) -> F32:
    """Returns the nearest finite float32."""
    most = jnp.finfo(jnp.float32).max
    return jnp.clip(value, -most, most)


def _log2(ratio: Any) -> Any:
    if isinstance(ratio, Tracer):
        return jnp.log2(jnp.where(ratio > 0, ratio, 1).astype(jnp.float32))
    return jnp.float32(math.log2(float(ratio) or 1))
