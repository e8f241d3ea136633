"""Strict JSON that keeps floats which JSON lacks, as words."""

import json
import math
from typing import Any


def dumped(value: Any) -> str:
    """Returns strict JSON; floats that it lacks become the words that `loaded` knows.

    What JSON cannot hold becomes its `repr`.
    """
    return json.dumps(_plain(value), allow_nan=False, default=repr)


def loaded(text: str | None) -> Any:
    """Returns what `dumped` has written; an empty dict for nothing."""
    return _floats(json.loads(text)) if text else {}


_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(name): _plain(x) for name, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    return value


def _floats(value: Any) -> Any:
    if isinstance(value, str):
        return _WORDS.get(value, value)
    if isinstance(value, dict):
        return {name: _floats(x) for name, x in value.items()}
    return [_floats(x) for x in value] if isinstance(value, list) else value
