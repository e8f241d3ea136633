"""Rules of a configuration: frozen dataclasses of what the factories take.

pydantic checks plain values against them. Neither needs jax.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from optaxctl.host._extras import load
from optaxctl.host.config._factories import Factory, Function, Key, factory, family
from optaxctl.host.config._messages import hint, listed, sentences, shown, switch
from optaxctl.host.config._yaml import Path, Problem, Source, dotted

_COMBINATORS = {
    "after": "optaxctl._core.cadence",
    "every": "optaxctl._core.cadence",
    "fallback": "optaxctl._core.cadence",
    "smooth": "optaxctl._core.smoothing",
    "start_at": "optaxctl._core.cadence",
    "together": "optaxctl._core.controllers",
    "when": "optaxctl._core.cadence",
}
# What is there beside the families, whose names stand in their `__init__`.
_OTHERS = {
    "checkpointing": {"Checkpoints": "optaxctl.host.checkpoint"},
    "guard": {
        "guard": "optaxctl.views._presets",
        "respond": "optaxctl._core.response",
        "rollback": "optaxctl._core.rollback",
        "skip_spikes": "optaxctl.views._presets",
        **_COMBINATORS,
    },
    "recording": {"Recording": "optaxctl.host.config._recording"},
    "snapshots": {"Snapshots": "optaxctl.views._snapshots"},
    "training": {"epochs": "optaxctl.host.loop"},
}
_LOOKUPS = {"get", "hyperparams"}
_DEFAULTS = {"clip": "auto", "guard": "guard", "stop": "early_stopping"}
_REFUSED = {
    "restore_best": "is not read here: the loop keeps the best parameters, as "
    "`epoch.best_params`."
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """What one section says: the arguments of a factory, by name.

    The fields are those arguments, with the defaults of the factory.
    """

    factory: ClassVar[Factory]
    group: ClassVar[str]

    def given(self) -> dict[str, Any]:
        """Returns the arguments that are not the factory's defaults."""
        values = {key.name: getattr(self, key.name) for key in keys(type(self))}
        return {
            key.name: values[key.name]
            for key in keys(type(self))
            if key.required or values[key.name] != key.default
        }


def types(group: str) -> dict[str, str]:
    """Returns the types of rules that a group has, each with its module."""
    if group in _OTHERS:
        return _OTHERS[group]
    own = {n: m for n, m in family(group).items() if n not in _LOOKUPS}
    if group == "schedules":
        return own
    lasting = {"lasting": "optaxctl._core.persistence"} if group == "watch" else {}
    return own | lasting | _COMBINATORS


def default_type(group: str) -> str | None:
    """Returns the type that a section of a group has if it names none."""
    known = types(group)
    return next(iter(known)) if len(known) == 1 else _DEFAULTS.get(group)


def has_type(group: str) -> bool:
    """Whether sections of a group say which of several rules they describe."""
    return len(types(group)) > 1


@functools.cache
def rule(group: str, kind: str) -> type[Rule]:
    """Returns the dataclass of a factory's arguments."""
    made = factory(types(group)[kind], kind)
    fields = []
    for key in _kept(group, made):
        default = dataclasses.MISSING if key.required else key.default
        kind_of = Any if key.nested else _strict(key.type)
        fields.append((key.name, kind_of, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(
        kind.title().replace("_", ""),
        fields,
        bases=(Rule,),
        frozen=True,
        kw_only=True,
        namespace={
            "__doc__": made.summary,
            "__pydantic_config__": {"extra": "forbid"},
            "factory": made,
            "group": group,
        },
    )


def keys(of: type[Rule]) -> tuple[Key, ...]:
    """Returns the keys of a rule."""
    return _kept(of.group, of.factory)


def nested(group: str, key: Key) -> str:
    """Returns the group of the rules that a key holds."""
    if key.name.startswith("schedule"):
        return "schedules"
    return "watch" if key.name == "watcher" else group


def _kept(group: str, made: Factory) -> tuple[Key, ...]:
    """Leaves out what only code can give, such as the functions of a loop."""
    kept = [key for key in made.keys if key.name not in _REFUSED]
    if not has_type(group):
        kept = [k for k in kept if Function not in (k.type, *get_args(k.type))]
    return tuple(kept)


def _strict(kind: Any) -> Any:
    """Returns a type that takes a value as it was written, and no other's."""
    pydantic = load("pydantic", extra="cli", who="`optaxctl.config`")
    origin, inner = get_origin(kind), get_args(kind)
    if kind is int:
        # `1e6` is a whole number to whoever writes it.
        whole = pydantic.BeforeValidator(_whole)
        return Annotated[int, pydantic.Strict(), whole]
    if kind in (bool, float, str):
        return Annotated[kind, pydantic.Strict()]
    if origin is tuple:
        return tuple[_strict(inner[0]), ...]
    if origin is not None and origin is not dict and origin is not Literal:
        return Union[tuple(map(_strict, inner))]  # noqa: UP007
    return kind


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@functools.cache
def _adapter(of: type[Rule]) -> Any:
    return load("pydantic", extra="cli", who="`optaxctl.config`").TypeAdapter(of)


def check(
    group: str, value: Any, path: Path, source: Source, problems: list[Problem]
) -> Rule | None:
    """Returns the rule that plain values describe, or None and notes the problems."""

    def note(path: Path, message: str) -> None:
        problems.append(Problem(source.place(path), dotted(path), message))

    if isinstance(value, str) and has_type(group) and not switch(value):
        value = {"type": value}
    if not isinstance(value, Mapping):
        word = f"must be keys and values, got {shown(value)}."
        note(path, word + switch(value))
        return None
    value = dict(value)
    kind = default_type(group)
    if has_type(group):
        known = types(group)
        kind = value.pop("type", kind)
        if kind is None:
            note(path, f"needs `type`: {listed(known)}.")
            return None
        if not isinstance(kind, str) or kind not in known:
            word = f"must be {listed(known)}, got {shown(kind)}."
            note((*path, "type"), word + hint(kind, known))
            return None
    assert kind is not None
    of = rule(group, kind)
    before = len(problems)
    for key in keys(of):
        if key.nested and key.name in value:
            here = (*path, key.name)
            inner = value[key.name]
            value[key.name] = _inner(
                nested(group, key), key, inner, here, source, problems
            )
    for name in _REFUSED.keys() & value.keys():
        if name in {k.name for k in of.factory.keys}:
            note((*path, name), _REFUSED[name])
            del value[name]
    pydantic = load("pydantic", extra="cli", who="`optaxctl.config`")
    try:
        made = _adapter(of).validate_python(value)
    except pydantic.ValidationError as error:
        who = f"`{kind}`" if has_type(group) else "this section"
        known = {key.name: key for key in keys(of)}
        for loc, message in sentences(error, known, who):
            note((*path, *loc), message)
        return None
    return made if len(problems) == before else None


def _inner(
    group: str,
    key: Key,
    value: Any,
    path: Path,
    source: Source,
    problems: list[Problem],
) -> Any:
    if key.nested == "one":
        return check(group, value, path, source, problems)
    named = key.nested == "names"
    if not isinstance(value, dict if named else list):
        word = "rules, each under a name" if named else "a list of rules"
        message = f"must be {word}, got {shown(value)}."
        problems.append(Problem(source.place(path), dotted(path), message))
        return None
    pairs = dict(value if isinstance(value, dict) else enumerate(value)).items()
    made = {n: check(group, v, (*path, n), source, problems) for n, v in pairs}
    return made if named else tuple(made.values())
