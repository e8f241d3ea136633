"""The command line; a thin layer over what stands above it."""

from optaxctl.cli._main import main

__all__ = ["main"]
