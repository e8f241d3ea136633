"""Controllers that end a run, and do nothing else."""

from optaxctl.stop._patience import PatienceState, patience

__all__ = ["PatienceState", "patience"]
