"""Presets: sections to start from, which a file then changes key by key."""

import ast
import functools
from collections.abc import Mapping
from typing import Any, Literal, get_args

from optaxctl.host.config._factories import tree

Preset = Literal["conservative", "balanced", "aggressive", "moe"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

# A step that is not finite is refused, so the rate need not be braked for it too.
_BALANCED = {"type": "adaptive", "window": 50, "nonfinite": "ignore"}
_NAMES = {
    "conservative": "CONSERVATIVE",
    "balanced": None,
    "aggressive": "AGGRESSIVE",
    "moe": "MOE",
}


def sections(preset: str) -> dict[str, Any]:
    """Returns the sections of a preset."""
    constant = _NAMES[preset]
    changes = _arguments()[constant] if constant else {}
    return {
        "guard": {"type": "guard"},
        "clipping": {"type": "auto"},
        "lr": _BALANCED | changes,
    }


@functools.cache
def _arguments() -> dict[str, dict[str, Any]]:
    """Returns the constants of `optaxctl.lr`, whose import would bring jax."""
    return {
        ast.unparse(node.target): ast.literal_eval(node.value.args[0])
        for node in tree("optaxctl.lr._presets").body
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call)
    }


def spread(start: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Puts a preset under the sections of a file.

    A section of another type takes the place of the preset's.
    """
    merged = dict(data)
    for name, section in start.items():
        own = data.get(name, True)
        if isinstance(own, str):
            own = {"type": own}
        if own is True:
            merged[name] = section
        elif isinstance(own, dict) and {**section, **own}["type"] == section["type"]:
            merged[name] = section | own
    return merged
