"""Strict JSON that keeps floats which JSON lacks, as words."""

import json
import math
import re
from typing import Any


def dumped(value: Any) -> str:
    """Returns strict JSON; floats that it lacks become the words that `loaded` knows.

    A text that is such a word gets a backslash in front. What JSON cannot hold becomes
    its `repr`, and what contains itself `"..."`.
    """
    return json.dumps(_plain(value, ()), allow_nan=False, default=repr)


def loaded(text: str | None) -> Any:
    """Returns what `dumped` has written; an empty dict for nothing."""
    return _floats(json.loads(text)) if text else {}


def clean(text: str) -> str:
    """Returns a text as UTF-8 can hold it: a lone surrogate becomes a "?"."""
    return text.encode("utf-8", "replace").decode()


_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LOOKS_SO = re.compile(r"\\*(NaN|-?Infinity)")
_DEEPEST = 100


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, (dict, list, tuple)):
        if id(value) in above or len(above) == _DEEPEST:
            return "..."
        above = (*above, id(value))
        if isinstance(value, dict):
            return {clean(str(name)): _plain(x, above) for name, x in value.items()}
        return [_plain(x, above) for x in value]
    if getattr(value, "shape", None) == ():  # a scalar of numpy or jax
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str):
        return "\\" + clean(value) if _LOOKS_SO.fullmatch(value) else clean(value)
    return value


def _floats(value: Any) -> Any:
    if isinstance(value, str):
        if value in _WORDS:
            return _WORDS[value]
        return value[1:] if _LOOKS_SO.fullmatch(value) else value
    if isinstance(value, dict):
        return {name: _floats(x) for name, x in value.items()}
    return [_floats(x) for x in value] if isinstance(value, list) else value
