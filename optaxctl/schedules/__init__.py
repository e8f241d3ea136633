"""Plain Optax schedules, `step -> value`: closed forms of an int32 step."""

from optaxctl.schedules._cosine import cosine
from optaxctl.schedules._warmup import warmup

__all__ = ["cosine", "warmup"]
