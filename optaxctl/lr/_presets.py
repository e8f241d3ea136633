"""Ready-made arguments of `lr.adaptive`: `lr.adaptive(steps, **lr.CONSERVATIVE)`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

CONSERVATIVE: Mapping[str, Any] = MappingProxyType(
    {"increase": 1.05, "decrease": 0.8, "patience": 3, "unstable": 0.4, "ceil": 5.0}
)
"""Arguments of `lr.adaptive` for a rate that hardly moves."""

AGGRESSIVE: Mapping[str, Any] = MappingProxyType(
    {
        "increase": 1.2,
        "decrease": 0.6,
        "max_change": 0.4,
        "patience": 1,
        "improving": 0.01,
        "ceil": 50.0,
    }
)
"""Arguments of `lr.adaptive` for a rate that follows the loss closely."""

MOE: Mapping[str, Any] = MappingProxyType(
    {"increase": 1.05, "decrease": 0.85, "min_rate": 1e-5, "max_rate": 2e-3}
)
"""Arguments of `lr.adaptive` for mixtures of experts; its bounds are rates."""
