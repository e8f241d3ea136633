"""What there is to configure: as JSON Schema for editors, as text, as a template."""

import math
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from optaxctl.host.config._factories import Function, Key
from optaxctl.host.config._messages import hint, listed, shown
from optaxctl.host.config._presets import PRESETS, Preset, sections
from optaxctl.host.config._rules import (
    default_type,
    has_type,
    keys,
    nested,
    rule,
    types,
)
from optaxctl.host.config._sections import KEYS, SECTIONS
from optaxctl.host.config._yaml import dump

_TOP = {
    "preset": "Sections to start from; those of the file go over them, key by key.",
    "learning_rate": "The rate, > 0; with a schedule, what its factor multiplies.",
    "optimizer": "Further arguments of the optimizer, by name.",
}
_ABOUT = {
    "schedule": "A factor of the learning rate, as a function of the step.",
    "lr": "What moves the learning rate by what it sees.",
    "clipping": "What limits the gradient norm.",
    "guard": "What refuses steps, or goes back; on unless it is `false`.",
    "early_stopping": "What ends the run.",
    "snapshots": "Healthy states on the device, to go back to.",
    "recording": "Where the run is recorded, and what of it.",
    "training": "Arguments of `octl.loop.epochs`.",
    "checkpointing": "Where checkpoints go, and which are kept.",
}


def schema() -> dict[str, Any]:
    """Returns the JSON Schema of the file, for editors.

    Returns:
      Values that `json` can write. Written to a file, editors complete and check what
      begins with `# yaml-language-server: $schema=FILE`.

    Example:
      >>> import optaxctl as octl
      >>> octl.config.schema()["$defs"]["lr.plateau"]["properties"]["updates"]["type"]
      'integer'
    """
    groups = [*dict.fromkeys([*SECTIONS.values(), "watch"])]
    definitions = {}
    for group in groups:
        for kind in types(group):
            definitions[f"{group}.{kind}"] = _rule(group, kind)
        rules: list[Any] = [
            {"$ref": f"#/$defs/{group}.{kind}"} for kind in types(group)
        ]
        if has_type(group):
            rules.append({"enum": [*types(group)]})
        definitions[group] = {"anyOf": rules}
    sections = {
        name: {
            "description": _ABOUT[name],
            "anyOf": [{"$ref": f"#/$defs/{group}"}, {"type": ["boolean", "null"]}],
        }
        for name, group in SECTIONS.items()
    }
    top: dict[str, Any] = {
        "preset": {"enum": [*PRESETS]},
        "learning_rate": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "optimizer": {"type": "object"},
    }
    described = {name: {"description": _TOP[name], **top[name]} for name in top}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optaxctl",
        "type": "object",
        "properties": described | sections,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _rule(group: str, kind: str) -> dict[str, Any]:
    of = rule(group, kind)
    properties = {key.name: _property(group, key) for key in keys(of)}
    required = [key.name for key in keys(of) if key.required]
    if has_type(group):
        properties = {"type": {"const": kind}} | properties
        required = ["type"] * (kind != default_type(group)) + required
    return {
        "type": "object",
        "description": of.factory.summary,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _property(group: str, key: Key) -> dict[str, Any]:
    about: dict[str, Any] = {"description": key.meaning}
    rules = {"$ref": f"#/$defs/{nested(group, key)}"}
    if key.nested == "one":
        return about | rules
    if key.nested == "list":
        return about | {"type": "array", "items": rules}
    if key.nested == "names":
        return about | {"type": "object", "additionalProperties": rules}
    finite = not isinstance(key.default, float) or math.isfinite(key.default)
    if not key.required and finite and key.default is not None:
        default = key.default
        about["default"] = [*default] if isinstance(default, tuple) else default
    return about | _type(key.type)


_JSON = {bool: "boolean", float: "number", int: "integer", str: "string"}


def _type(kind: Any) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _JSON:
        return {"type": _JSON[kind]}
    if kind is NoneType:
        return {"type": "null"}
    if kind is Function:
        return {"type": "string", "pattern": Function.PATTERN}
    if origin is Literal:
        return {"enum": [*inner]}
    if origin is tuple:
        return {"type": "array", "items": _type(inner[0])}
    if origin is dict:
        return {"type": "object"}
    return {"anyOf": [_type(k) for k in inner]}


def words(kind: Any) -> str:
    """Returns what a type takes, as people say it."""
    origin, inner = get_origin(kind), get_args(kind)
    known = {
        bool: "true or false",
        float: "a number",
        int: "a whole number",
        str: "text",
        NoneType: "null",
        Function: "a function, as `module:function`",
        Any: "another rule",
    }
    if kind in known:
        return known[kind]
    if origin is Literal:
        return listed(map(str, inner))
    if origin is tuple:
        return f"a list, each {words(inner[0])}"
    if origin is dict:
        return "keys and values"
    return " or ".join(map(words, inner))


def explain(key: str) -> str:
    """Says what a key means, what it takes and its default, in each type that has it.

    Args:
      key: Such as `lr`, `lr.plateau` or `early_stopping.patience`.

    Returns:
      Lines of text.

    Raises:
      ValueError: If there is no such key, with the closest one.

    Example:
      >>> import optaxctl as octl
      >>> print(octl.config.explain("snapshots.keep").splitlines()[0])
      snapshots.keep
    """
    section, *rest = key.split(".")
    if section in _TOP and not rest:
        return f"{key}\n  {_TOP[section]}\n"
    if section not in SECTIONS:
        raise ValueError(
            f"There is no key `{section}`; there are {listed(KEYS)}."
            + hint(section, KEYS)
        )
    group = SECTIONS[section]
    if not rest:
        rows = [
            f"  {kind}: {rule(group, kind).factory.summary}" for kind in types(group)
        ]
        body = rows if has_type(group) else [*_lines(group, default_type(group), None)]
        return "\n".join([key, f"  {_ABOUT[section]}", *body, ""])
    # `patience` is a type of `early_stopping`, and a key of some of its types.
    name, found = rest[-1], []
    if len(rest) == 1 and name in types(group) and has_type(group):
        found += [f"  type {name}:", *_lines(group, name, None)]
    kinds = [k for k in types(group) if len(rest) == 1 or k == rest[0]]
    lines = [line for kind in kinds for line in _lines(group, kind, name)]
    if found and lines:
        found.append(f"  key {name}:")
    if not found + lines:
        known = {k.name for kind in types(group) for k in keys(rule(group, kind))}
        raise ValueError(f"`{section}` has no key `{name}`." + hint(name, known))
    return "\n".join([key, *found, *lines, ""])


def _lines(group: str, kind: str | None, name: str | None) -> Iterator[str]:
    assert kind is not None
    for key in keys(rule(group, kind)):
        if name in (None, key.name):
            label = kind if name and has_type(group) else key.name
            default = "required" if key.required else f"default {shown(key.default)}"
            yield f"  {label}: {key.meaning} Takes {words(key.type)}; {default}."


def template(preset: Preset) -> str:
    """Returns a file to start from: a preset, and in comments all that it sets.

    Args:
      preset: Which.

    Returns:
      YAML. A section without its `# ` means what the preset means.

    Raises:
      ValueError: If there is no such preset.

    Example:
      >>> import optaxctl as octl
      >>> octl.config.template("balanced").splitlines()[0]
      'preset: balanced'
    """
    if preset not in PRESETS:
        known = " or ".join(map(repr, PRESETS))
        raise ValueError(f"`config.template(preset=...)` must be {known}.")
    lines = [f"preset: {preset}", "learning_rate: 3e-4"]
    for section, values in sections(preset).items():
        lines += ["", f"# {_ABOUT[section]}", f"# {section}:"]
        of = rule(SECTIONS[section], values["type"])
        lines.append(f"#   type: {values['type']}")
        for key in keys(of):
            value = values.get(key.name, key.default)
            if not key.nested:
                said = dump({key.name: [*value] if isinstance(value, tuple) else value})
                lines += [f"#   # {key.meaning}", f"#   {said.strip()}"]
    return "\n".join(lines) + "\n"
