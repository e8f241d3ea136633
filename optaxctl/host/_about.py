"""What a checkpoint says of itself."""

from collections.abc import Mapping
from typing import Any

from optaxctl.views._state import states

FORMAT = 1
"""Of what is written beside the arrays, and of the names of control state."""


_KEY = "optaxctl"


def with_notes(about: Mapping[str, Any], notes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is written in one file: this, and the notes of the user."""
    return {_KEY: about, "notes": dict(notes)}


def and_notes(written: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Returns the two again; what plain Orbax wrote is notes alone."""
    if _KEY not in written:
        return {"format": 0, "controllers": []}, dict(written)
    return written[_KEY], written["notes"]


def about(tree: Any) -> dict[str, Any]:
    """Returns the format, and how the controllers in a tree were made."""
    return {
        "format": FORMAT,
        "controllers": [dict(s.layout.calls) for s in states(tree)],
    }


def check_format(found: Mapping[str, Any], where: str) -> None:
    """Refuses what a later version of this library has written."""
    if found["format"] > FORMAT:
        raise ValueError(
            f"{where} has the format {found['format']}, and this version of optaxctl "
            f"reads {FORMAT} and older ones. Update optaxctl."
        )


def changed(
    found: Mapping[str, Any], tree: Any, renamed: Mapping[str, str]
) -> list[str]:
    """Says which controllers have other arguments than when they were saved."""
    said = []
    ours = about(tree)["controllers"]
    for theirs, mine in zip(found["controllers"], ours, strict=False):
        for old, call in theirs.items():
            name = renamed.get(old, old)
            if mine.get(name, call) != call:
                which = f"`{name}`" if name else "the controller"
                said.append(f"{which} was {call} and is {mine[name]}")
    return said
