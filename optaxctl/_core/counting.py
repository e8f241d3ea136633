"""Counters that saturate instead of wrapping around."""

from typing import cast

import optax

from optaxctl._core.types import I32


def increment(count: I32) -> I32:
    """Returns `count + 1`, or the largest int32 if that is reached."""
    return cast(I32, optax.safe_increment(count))
