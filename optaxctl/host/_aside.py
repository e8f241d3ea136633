"""Checkpoints that a run is not to go back to, apart from those that it is.

The directory of `Checkpoints` holds ends of epochs that were healthy, and nothing else.
What is sick, or in the middle of an epoch, lies in directories within it, so that it
never pushes out what a rewind needs, however few are kept.
"""

import warnings
from typing import Any

from optaxctl.host.checkpoint import Checkpoints

INTERIM = "interim"
"""What a run goes on from, if it is newer than the last healthy end of an epoch."""

EMERGENCY = "emergency"
"""What it looked like when something went wrong, for people."""

Found = tuple[Any, dict[str, Any]]


def save_aside(
    checkpoints: Checkpoints, name: str, step: int, tree: Any, notes: dict[str, Any]
) -> str:
    """Saves in a directory of that name, waits for it, and returns where it is."""
    with Checkpoints(checkpoints.directory / name, keep=1) as place:
        place.discard(after=step - 1)  # a run that was killed has been here before
        place.save(step, tree, notes)
    return str(place.directory / str(step))


def newest(checkpoints: Checkpoints, template: Any) -> Found | None:
    """Returns what to go on from, if there is anything."""
    end = checkpoints.latest()
    if (checkpoints.directory / INTERIM).exists():
        with Checkpoints(checkpoints.directory / INTERIM, keep=1) as place:
            step = place.latest()
            if step is not None and (end is None or step > end):
                try:
                    return place.restore(template)
                except ValueError as error:
                    if end is None:
                        raise
                    warnings.warn(
                        f"{error} The run goes on from step {end:,}.", stacklevel=4
                    )
    return None if end is None else checkpoints.restore(template)


def earlier(checkpoints: Checkpoints, template: Any, tries: int, before: int) -> Found:
    """Returns what to go back to: the newest, and an older one with every try.

    The oldest one stays the last resort. Nothing is saved here between two tries, so
    a run that is killed between them finds the same.

    Args:
      checkpoints: Where to look.
      template: What to restore into.
      tries: The number of this try, from 1.
      before: A step that a checkpoint must be older than to be known for healthy. What
        the controllers have answered to those since then is this rewind: they are
        deleted, unless there is no other.
    """
    checkpoints.wait()
    known = [step for step in checkpoints.steps() if step < before]
    if known:
        checkpoints.discard(after=before - 1)
    steps = known or checkpoints.steps()
    # Without a number, one that is damaged is passed over.
    older = steps[-min(tries, len(steps))] if tries > 1 else None
    return checkpoints.restore(template, older)
