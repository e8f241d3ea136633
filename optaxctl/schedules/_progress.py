"""How far a step is on its way, without losing an integer to float32."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core.types import F32


class Progress(NamedTuple):
    """The share of a way that is done and the share that is left, both in [0, 1]."""

    done: F32
    left: F32


def progress(step: Any, steps: Any) -> Progress:
    """Returns `step / steps` and its complement, clamped at both ends.

    The remainder is subtracted as an integer, so both shares are right to an ulp of
    themselves, near the end of a way of 2^31 - 1 steps too.
    """
    step = jnp.asarray(step)
    steps = jnp.asarray(steps)
    if jnp.issubdtype(step.dtype, jnp.integer):
        step, steps = step.astype(jnp.int32), steps.astype(jnp.int32)
    else:
        step, steps = step.astype(jnp.float32), steps.astype(jnp.float32)
    at = jnp.clip(step, 0, steps)
    whole = steps.astype(jnp.float32)
    return Progress(
        at.astype(jnp.float32) / whole, (steps - at).astype(jnp.float32) / whole
    )
