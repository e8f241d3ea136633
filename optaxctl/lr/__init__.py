"""Controllers that move the learning rate, and nothing else."""

from optaxctl.lr._adaptive import AdaptiveState, Change, adaptive
from optaxctl.lr._automatic import AutomaticState, automatic
from optaxctl.lr._follow import FollowState, follow
from optaxctl.lr._greedy import GreedyState, greedy
from optaxctl.lr._plateau import PlateauState, plateau
from optaxctl.lr._plateau_presets import like_keras, like_optax, like_torch
from optaxctl.lr._presets import AGGRESSIVE, CONSERVATIVE, MOE
from optaxctl.lr._search import SearchState, search

__all__ = [
    "AGGRESSIVE",
    "CONSERVATIVE",
    "MOE",
    "AdaptiveState",
    "AutomaticState",
    "Change",
    "FollowState",
    "GreedyState",
    "PlateauState",
    "SearchState",
    "adaptive",
    "automatic",
    "follow",
    "greedy",
    "like_keras",
    "like_optax",
    "like_torch",
    "plateau",
    "search",
]
