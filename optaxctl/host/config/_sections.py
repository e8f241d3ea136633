"""From plain values to a configuration: presets, overrides, all problems at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optaxctl.host.config._messages import hint, listed, shown
from optaxctl.host.config._presets import PRESETS, sections, spread
from optaxctl.host.config._rules import Rule, check, default_type, has_type, rule
from optaxctl.host.config._yaml import Path, Problem, Source, dotted, scalar

SECTIONS = {
    "schedule": "schedules",
    "lr": "lr",
    "clipping": "clip",
    "guard": "guard",
    "early_stopping": "stop",
    "snapshots": "snapshots",
    "recording": "recording",
    "training": "training",
    "checkpointing": "checkpointing",
}
KEYS = ("preset", "learning_rate", "optimizer", *SECTIONS)
_NOT_YET = {
    "monitoring": "Monitoring is not there yet; a later version will read this key.",
    "batch_size": "Control of the batch size is not there yet; a later version will "
    "read this key.",
}
PREFIX = "OPTAXCTL_"
_OTHER = {"OPTAXCTL_HOME"}  # read by the command line
_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # of normal float32


@dataclass(frozen=True)
class Settings:
    """The sections of a configuration, checked; None where one is off or not there.

    A section is a `Rule`, whose fields depend on its type.

    Attributes:
      learning_rate: The rate; with a `schedule`, what its factor multiplies.
      optimizer: Further arguments of the optimizer, by name.
      schedule: A rule of `octl.schedules`.
      lr: A rule of `octl.lr`.
      clipping: A rule of `octl.clip`.
      guard: What refuses steps; `octl.guard` unless it is off.
      early_stopping: A rule of `octl.stop`.
      snapshots: The arguments of `octl.Snapshots`.
      recording: Where a run is recorded, and what of it.
      training: Arguments of `octl.loop.epochs`.
      checkpointing: The arguments of `octl.checkpoint.Checkpoints`.
      source: Where each key was written.
    """

    learning_rate: float | None = None
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    schedule: Any = None
    lr: Any = None
    clipping: Any = None
    guard: Any = field(default_factory=lambda: rule("guard", "guard")())
    early_stopping: Any = None
    snapshots: Any = None
    recording: Any = None
    training: Any = None
    checkpointing: Any = None
    source: Source = field(
        default_factory=lambda: Source({}, {(): "config"}), compare=False, repr=False
    )


def fields(source: Source, problems: list[Problem]) -> dict[str, Any]:
    """Returns the fields of `Settings` that plain values describe.

    What is wrong is added to `problems`; a section that it is in is None.
    """

    def note(path: Path, message: str) -> None:
        problems.append(Problem(source.place(path), dotted(path), message))

    data = dict(source.data)
    chosen = data.pop("preset", None)
    if chosen is not None and chosen not in PRESETS:
        word = f"must be {listed(PRESETS)}, got {shown(chosen)}."
        note(("preset",), word + hint(chosen, PRESETS))
    elif chosen is not None:
        place = source.place(("preset",))
        source.places.update({(n,): place for n in sections(chosen) if n not in data})
        data = spread(sections(chosen), data)
    found: dict[str, Any] = {"source": source}
    for name, value in data.items():
        if name in SECTIONS:
            found[name] = _section(name, value, source, problems)
        elif name == "learning_rate":
            found[name] = _rate(value, note)
        elif name == "optimizer":
            found[name] = _optimizer(value, note)
        elif name in _NOT_YET:
            note((name,), _NOT_YET[name])
        else:
            note((name,), f"is no key. There are {listed(KEYS)}." + hint(name, KEYS))
    return found


def _section(
    name: str, value: Any, source: Source, problems: list[Problem]
) -> Rule | None:
    if value is None or value is False:
        return None
    group = SECTIONS[name]
    plain = has_type(group) and default_type(group) is None
    if value is True and not plain:
        value = {}
    return check(group, value, (name,), source, problems)


def _rate(value: Any, note: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (number and _SMALLEST <= value <= _LARGEST):
        return value if value is None else float(value)
    word = f"must be a number > 0 and finite in float32, got {shown(value)}."
    note(("learning_rate",), word)
    return None


def _optimizer(value: Any, note: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        note(("optimizer",), f"must be arguments by name, got {shown(value)}.")
        return {}
    if "learning_rate" in value:
        word = "belongs at the top of the file, as `learning_rate:`."
        note(("optimizer", "learning_rate"), word)
    return dict(value)


def overridden(
    source: Source, environ: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[Source, list[Problem]]:
    """Puts environment variables over a file, and over them `key.key=value`."""
    given = [
        (f"${variable}", tuple(variable[len(PREFIX) :].lower().split("__")), text)
        for variable, text in sorted(environ.items())
        if variable.startswith(PREFIX) and variable not in _OTHER
    ]
    given += [
        (f"--set {k}", tuple(k.split(".")), text) for k, text in overrides.items()
    ]
    new = Source(_copied(source.data), dict(source.places), source.unread)
    problems: list[Problem] = []
    for place, path, text in given:
        if path[0] not in (*KEYS, *_NOT_YET):
            # What nobody reads would be a setting that silently does nothing.
            word = f"leads to no key: there is no `{path[0]}`." + hint(path[0], KEYS)
            problems.append(Problem(place, "", word))
            continue
        value, wrong = scalar(text, place)
        problems += wrong
        if not wrong and (word := _put(value, path, new, place)):
            problems.append(Problem(place, dotted(path), word))
    return new, problems


def _put(value: Any, path: tuple[str, ...], source: Source, place: str) -> str:
    """Sets one value in a source; returns why it cannot, if so."""
    inner = source.data
    for i, key in enumerate(path[:-1], start=1):
        if inner.get(key) is None or inner[key] is True:
            inner[key] = {}
        elif isinstance(inner[key], str):
            inner[key] = {"type": inner[key]}
        inner = inner[key]
        source.places.setdefault(path[:i], place)
        if not isinstance(inner, dict):
            return f"leads into `{dotted(path[:i])}`, which holds no keys."
    inner[path[-1]] = value
    for old in [p for p in source.places if p[: len(path)] == path]:
        del source.places[old]
    source.places[path] = place
    return ""


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(v) for name, v in value.items()}
    return [_copied(v) for v in value] if isinstance(value, list) else value


def plain(settings: Settings) -> dict[str, Any]:
    """Returns plain values that `fields` turns into the same settings."""
    values: dict[str, Any] = {}
    if settings.learning_rate is not None:
        values["learning_rate"] = settings.learning_rate
    if settings.optimizer:
        values["optimizer"] = _copied(dict(settings.optimizer))
    for name in SECTIONS:
        section = getattr(settings, name)
        if section is not None:
            values[name] = _plain(section)
        elif name == "guard":
            values[name] = False
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Rule):
        kind = {"type": value.factory.name} if has_type(value.group) else {}
        return kind | _plain(value.given())
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, str) else value
