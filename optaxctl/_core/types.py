"""Scalar array types shared by every controller."""

from typing import Literal

from jax import Array
from jaxtyping import Bool, Float32, Int32

F32 = Float32[Array, ""]
I32 = Int32[Array, ""]
Flag = Bool[Array, ""]

Mode = Literal["min", "max"]
"""Whether lower or higher values of a signal are better."""

Nonfinite = Literal["count", "ignore"]
"""Whether a NaN or infinite value counts as an update without improvement."""
