"""Controllers that raise alarms, and do nothing else; `respond` answers them."""

from optaxctl.watch._divergence import divergence
from optaxctl.watch._excess import ExcessState, excess
from optaxctl.watch._nonfinite import NonfiniteState, nonfinite
from optaxctl.watch._outlier import OutlierState, outlier
from optaxctl.watch._spike import SpikeState, spike
from optaxctl.watch._vanishing import VanishingState, vanishing

__all__ = [
    "ExcessState",
    "NonfiniteState",
    "OutlierState",
    "SpikeState",
    "VanishingState",
    "divergence",
    "excess",
    "nonfinite",
    "outlier",
    "spike",
    "vanishing",
]
