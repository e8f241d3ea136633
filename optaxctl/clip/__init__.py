"""Controllers that limit the gradient norm, and nothing else."""

from optaxctl.clip._auto import AutoState, auto
from optaxctl.clip._band import BandState, band
from optaxctl.clip._history import HistoryState, history
from optaxctl.clip._quantile import QuantileState, quantile
from optaxctl.clip._zscore import ZscoreState, zscore

__all__ = [
    "AutoState",
    "BandState",
    "HistoryState",
    "QuantileState",
    "ZscoreState",
    "auto",
    "band",
    "history",
    "quantile",
    "zscore",
]
