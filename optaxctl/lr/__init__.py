"""Controllers that move the learning rate, and nothing else."""

from optaxctl.lr._follow import FollowState, follow
from optaxctl.lr._plateau import PlateauState, plateau

__all__ = ["FollowState", "PlateauState", "follow", "plateau"]
