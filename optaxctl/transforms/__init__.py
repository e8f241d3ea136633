"""Gradient transformations that need more than scalars."""

from optaxctl.transforms._adagc import AdaGCState, adagc

__all__ = ["AdaGCState", "adagc"]
