"""What is not a complete checkpoint: half written, or half deleted."""

from collections.abc import Iterable
from typing import Any

import jax
from jax.experimental import multihost_utils

HALF = ".orbax-checkpoint-tmp"
"""How Orbax ends the name of a checkpoint that it is writing."""


def delete(directory: Any, steps: Iterable[int]) -> None:
    """Deletes checkpoints, by such a name first: a kill may come in between."""
    if jax.process_index() == 0:
        for step in steps:
            (directory / str(step)).rename(directory / f"{step}{HALF}")
        sweep(directory)
    multihost_utils.sync_global_devices("optaxctl: checkpoints are deleted")


def sweep(directory: Any) -> None:
    """Deletes what a process that was killed has left half done."""
    if jax.process_index() == 0:
        for half in directory.glob(f"*{HALF}"):
            half.rmtree()
