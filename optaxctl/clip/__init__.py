"""Controllers that limit the gradient norm, and nothing else."""

from optaxctl.clip._history import HistoryState, history
from optaxctl.clip._quantile import QuantileState, quantile
from optaxctl.clip._zscore import ZscoreState, zscore

__all__ = [
    "HistoryState",
    "QuantileState",
    "ZscoreState",
    "history",
    "quantile",
    "zscore",
]
