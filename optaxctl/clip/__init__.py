"""Controllers that limit the gradient norm, and nothing else."""

from optaxctl.clip._zscore import ZscoreState, zscore

__all__ = ["ZscoreState", "zscore"]
