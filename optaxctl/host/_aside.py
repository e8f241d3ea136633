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
    """Saves in a directory of that name, waits for it, and returns where it is.

    It is noted which checkpoint was the last one when it was saved.
    """
    checkpoints.wait()
    notes = {**notes, "after": checkpoints.latest()}
    with Checkpoints(checkpoints.directory / name, keep=1) as place:
        place.discard(after=step - 1)  # a run that was killed has been here before
        place.save(step, tree, notes)
    return str(place.directory / str(step))


def newest(checkpoints: Checkpoints, template: Any) -> Found | None:
    """Returns what to go on from, if there is anything."""
    end = checkpoints.latest()
    found = _interim(checkpoints, template, end)
    if found is not None or end is None:
        return found
    return checkpoints.restore(template)


def _interim(checkpoints: Checkpoints, template: Any, end: int | None) -> Found | None:
    """Returns what is kept apart, if it is sound, newer than `end`, and not rejected.

    Rejected is what followed a checkpoint that somebody has discarded since then. It is
    deleted, lest it be the newest once more when the run comes by that step again.
    """
    if not (checkpoints.directory / INTERIM).exists():
        return None
    with Checkpoints(checkpoints.directory / INTERIM, keep=1) as place:
        step = place.latest()
        if step is None or (end is not None and step <= end):
            return None
        try:
            found = place.restore(template)
        except ValueError as error:
            if end is None:
                raise
            warnings.warn(f"{error} The run goes on from step {end:,}.", stacklevel=5)
            return None
        after = found[1]["after"]
        if after is None or after in checkpoints.steps():
            return found
        place.discard(after=after)
    begin = "starts anew" if end is None else f"goes on from step {end:,}"
    warnings.warn(
        f"The checkpoint of step {after:,} is gone, so what followed it, "
        f"`{INTERIM}/{step}`, is deleted. The run {begin}.",
        stacklevel=5,
    )
    return None


def earlier(checkpoints: Checkpoints, template: Any, tries: int, before: int) -> Found:
    """Returns what to go back to: the newest, and an older one with every try.

    One that is damaged is passed over for an older one, and if there is none for a
    newer one. Nothing is saved here between two tries, so a run that is killed between
    them finds the same.

    Args:
      checkpoints: Where to look.
      template: What to restore into.
      tries: The number of this try, from 1.
      before: A step that a checkpoint must be older than to be known for healthy. What
        the controllers have answered to those since then is this rewind: they are
        deleted, unless there is no other.
    """
    checkpoints.wait()
    steps = checkpoints.steps()
    known = [step for step in steps if step < before] or steps
    wanted = max(len(known) - tries, 0) + 1
    try:
        found = checkpoints.restore(template, steps[:wanted])
    except ValueError as error:
        if not steps[wanted:]:
            raise
        warnings.warn(str(error), stacklevel=4)
        found = checkpoints.restore(template, steps[wanted:])
    checkpoints.tidy()  # lest the next try counts what was passed over
    if found[1]["step"] < before:
        checkpoints.discard(after=before - 1)
    return found
