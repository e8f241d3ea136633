"""Find what somebody may have meant. No jax, so that whoever only reads can ask."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean ...?` for the closest known name, or nothing."""
    close = closest(name, known)
    return f" Did you mean `{close}`?" if close else ""


def closest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that looks most like `name`, if any does."""
    return next(
        iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None
    )
