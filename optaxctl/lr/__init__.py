"""Controllers that move the learning rate, and nothing else."""

from optaxctl.lr._follow import FollowState, follow
from optaxctl.lr._greedy import GreedyState, greedy
from optaxctl.lr._plateau import PlateauState, plateau

__all__ = [
    "FollowState",
    "GreedyState",
    "PlateauState",
    "follow",
    "greedy",
    "plateau",
]
