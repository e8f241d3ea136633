"""Powers of a fixed ratio."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
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
    power = jnp.where(times == 0, 1, raised)
    most = jnp.finfo(jnp.float32).max
    return jnp.clip(jnp.float32(start) * power, -most, most)


def _log2(ratio: Any) -> Any:
    if isinstance(ratio, (int, float)):
        return jnp.float32(math.log2(ratio) if ratio else -math.inf)
    if isinstance(ratio, Tracer):
        return jnp.log2(ratio.astype(jnp.float32))
    with np.errstate(divide="ignore"):
        return jnp.float32(np.log2(np.asarray(ratio, np.float64)))
