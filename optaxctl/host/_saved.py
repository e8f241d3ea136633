"""One checkpoint on the disk, put into what it shall be restored into."""

import warnings
from collections.abc import Mapping
from typing import Any

from optaxctl.host import _iterators
from optaxctl.host._about import About, from_json
from optaxctl.host._by_name import Changes, check_renamed, joined, placed, without
from optaxctl.host._fits import filled, fit, leaves, target
from optaxctl.views._read import read
from optaxctl.views._state import states

STATE, NOTES, DATA = "state", "notes", "data"
PLAIN = "default"
"""What Orbax calls the item if it is given no name."""


def restored(
    ocp: Any, place: Any, template: Any, renamed: Mapping[str, str], data: Any
) -> tuple[Any, dict[str, Any]]:
    """Returns the tree and the notes of a checkpoint, and moves the data to its place.

    Args:
      ocp: Orbax.
      place: Where it lies; its name is the step.
      template: The tree to restore into.
      renamed: New names of controllers by their old ones.
      data: The iterators to move, or None.

    Raises:
      ValueError: If it does not fit.
    """
    step = f"step {int(place.name):,}"
    where = f"The checkpoint of {step} in {place.parent}"
    places = _iterators.saved(place / DATA, data, where)
    about = _about(ocp, place / NOTES, where)
    control = placed(about.control, template)
    check_renamed(renamed, control)
    ours = without(template, control)
    state = place / STATE if (place / STATE).exists() else place / PLAIN
    reader = ocp.StandardCheckpointHandler()
    saved = reader.metadata(state).tree
    found = fit(ours, leaves(saved), where)
    asked = ocp.args.StandardRestore(target(saved, ours, found))
    tree = filled(ours, reader.restore(state, args=asked), found)
    changes = Changes([], [], [])
    tree = joined(tree, template, control, renamed, changes)
    said = [f"is of other controllers: {changes}"] if any(changes) else []
    said += [f"has other leaves: {found}"] if str(found) else []
    if said:
        warnings.warn(
            f"The checkpoint of {step} {'; and it '.join(said)}.", stacklevel=3
        )
    if len(states(tree)) > len(control):
        read(tree)  # refuses a state that other controllers packed
    _iterators.move(data, places)
    return tree, about.notes


def _about(ocp: Any, place: Any, where: str) -> About:
    if not place.exists():
        return About({}, {})  # plain Orbax wrote it
    reader = ocp.JsonCheckpointHandler()
    return from_json(reader.restore(place, args=ocp.args.JsonRestore()), where)
