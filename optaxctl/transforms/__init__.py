"""Optax transformations that need more than scalars, such as clipping per tensor."""

from optaxctl.transforms._adagc import AdaGCState, adagc
from optaxctl.transforms._clip_update_rms import ClipUpdateRmsState, clip_update_rms

__all__ = ["AdaGCState", "ClipUpdateRmsState", "adagc", "clip_update_rms"]
