"""What is written beside the arrays of a checkpoint, in one JSON file."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from optaxctl.host._by_name import Held

FORMAT = 1
"""Of this file, and of the names of control state."""
_KEY = "optaxctl"


class About(NamedTuple):
    """What the controls hold, by their paths, and the notes of the user."""

    control: Held
    notes: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Returns it for Orbax to write.

        Raises:
          TypeError: If JSON cannot hold the notes.
        """
        json.dumps(self.notes)  # Orbax would find out when half of it is written
        about = {"format": FORMAT, "control": self.control}
        return {_KEY: about, "notes": self.notes}


def from_json(found: Mapping[str, Any], where: str) -> About:
    """Returns it again; what plain Orbax wrote is notes alone.

    Raises:
      ValueError: If a later version of this library has written it.
    """
    if _KEY not in found:
        return About({}, dict(found))
    version = found[_KEY]["format"]
    if version > FORMAT:
        raise ValueError(
            f"{where} has the format {version}, and this version of optaxctl reads "
            f"{FORMAT} and older ones. Update optaxctl."
        )
    return About(found[_KEY]["control"], found["notes"])
