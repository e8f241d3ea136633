"""Controllers that end a run, and do nothing else."""

from optaxctl.stop._budget import BudgetState, budget
from optaxctl.stop._convergence import ConvergenceState, convergence
from optaxctl.stop._custom import CustomState, Past, custom
from optaxctl.stop._early_stopping import (
    EarlyStopping,
    EarlyStoppingState,
    early_stopping,
)
from optaxctl.stop._evidence import EvidenceState, evidence
from optaxctl.stop._extrapolation import ExtrapolationState, extrapolation
from optaxctl.stop._generalization_loss import (
    GeneralizationLossState,
    generalization_loss,
)
from optaxctl.stop._like_counters import (
    like_flax,
    like_lightgbm,
    like_torch,
    like_xgboost,
)
from optaxctl.stop._like_trainers import (
    like_fastai,
    like_hf,
    like_ignite,
    like_keras,
    like_lightning,
)
from optaxctl.stop._logic import all_of, any_of
from optaxctl.stop._overfitting import OverfittingState, overfitting
from optaxctl.stop._patience import PatienceState, patience
from optaxctl.stop._progress_quotient import ProgressQuotientState, progress_quotient
from optaxctl.stop._small_gain import SmallGainState, small_gain
from optaxctl.stop._successive_rises import SuccessiveRisesState, successive_rises
from optaxctl.stop._threshold import ThresholdState, limit, nonfinite, target
from optaxctl.stop._trend import TrendState, trend

__all__ = [
    "BudgetState",
    "ConvergenceState",
    "CustomState",
    "EarlyStopping",
    "EarlyStoppingState",
    "EvidenceState",
    "ExtrapolationState",
    "GeneralizationLossState",
    "OverfittingState",
    "Past",
    "PatienceState",
    "ProgressQuotientState",
    "SmallGainState",
    "SuccessiveRisesState",
    "ThresholdState",
    "TrendState",
    "all_of",
    "any_of",
    "budget",
    "convergence",
    "custom",
    "early_stopping",
    "evidence",
    "extrapolation",
    "generalization_loss",
    "like_fastai",
    "like_flax",
    "like_hf",
    "like_ignite",
    "like_keras",
    "like_lightgbm",
    "like_lightning",
    "like_torch",
    "like_xgboost",
    "limit",
    "nonfinite",
    "overfitting",
    "patience",
    "progress_quotient",
    "small_gain",
    "successive_rises",
    "target",
    "trend",
]
