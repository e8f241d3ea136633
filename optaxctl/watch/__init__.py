"""Controllers that raise alarms, and do nothing else; `respond` answers them."""

from optaxctl.watch._nonfinite import NonfiniteState, nonfinite
from optaxctl.watch._outlier import OutlierState, outlier
from optaxctl.watch._spike import SpikeState, spike

__all__ = [
    "NonfiniteState",
    "OutlierState",
    "SpikeState",
    "nonfinite",
    "outlier",
    "spike",
]
