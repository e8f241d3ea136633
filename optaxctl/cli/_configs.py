"""`optaxctl init`, `validate` and `explain`: the file that describes a run."""

import json
import shutil
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import typer

from optaxctl.cli import _files, _screen, _user
from optaxctl.cli._exit import FAILED
from optaxctl.host import config
from optaxctl.host._format import count
from optaxctl.host.config import ConfigError
from optaxctl.host.config._config import checked
from optaxctl.host.config._reading import verified

SCHEMA = "optaxctl.schema.json"
_EDITORS = f"# yaml-language-server: $schema={SCHEMA}\n"
# What a preset says nothing of, since it depends on the training.
_REST = """
# What ends the run; it needs to know your metric.
# early_stopping:
#   monitor: val_loss
#   mode: min
#   patience: 10

# Arguments of `octl.loop.epochs`.
training:
  max_epochs: 20

# Where the run is recorded, and what of it.
recording:
  directory: runs
  name: run

# Where checkpoints go, and which are kept.
checkpointing:
  directory: checkpoints
"""


def init(path: Path, preset: Any, *, force: bool, as_json: bool) -> None:
    """Writes a file to start from, and what editors complete it by."""
    if path.exists() and not force:
        _screen.say(f"{path} is there already; --force replaces it.")
        raise typer.Exit(FAILED)
    text = _EDITORS + config.template(preset) + _REST
    schema = path.with_name(SCHEMA)
    with _files.told(path):
        _files.replace(schema, json.dumps(config.schema(), indent=1).encode() + b"\n")
        _files.replace(path, text.encode())
    if as_json:
        _screen.as_json(file=str(path), schema=str(schema))
        return
    _screen.line(str(path))
    _screen.say(
        f"Editors that know YAML's language server complete it by {schema}. "
        f"`optaxctl validate {path}` checks it."
    )


def validate(
    path: Path, library: Literal["trainner", "aios"] | None, *, as_json: bool
) -> None:
    """Prints what a file says, or all that is wrong in it."""
    _user.here()
    rows, said, text, problems = (), {}, "", ()
    try:
        with _user.traced():
            if library is None:
                read = verified(path)
                text, said = read.as_yaml(), read.as_dict()
            else:
                foreign = config.foreign(path, library)
                rows, said, text = foreign.rows, foreign.values, foreign.as_yaml()
                checked(foreign.source, [*foreign.problems], build=True)
    except ConfigError as error:
        problems = error.problems
    if as_json:
        found = {"rows": [row._asdict() for row in rows]} if library else {}
        _screen.as_json(
            valid=not problems,
            problems=[problem._asdict() for problem in problems],
            config=None if problems else dict(said),
            **found,
        )
    for line in () if as_json else (*rows, *problems):
        _screen.say(line)
    if problems:
        _screen.say(f"{path} has {count(len(problems), 'problem')}.")
        raise typer.Exit(FAILED)
    if not as_json:
        _screen.whole(text)
    verdicts = Counter(row.verdict for row in rows)
    told = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
    keys_of = f"{path} has {count(len(rows), 'key')}: {told}."
    _screen.say(keys_of if rows else f"{path} is valid.")


def explain(key: str | None, *, as_json: bool) -> None:
    """Prints what a key means, or which sections there are."""
    if key is None:
        _overview(as_json=as_json)
        return
    try:
        text = config.explain(key)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="KEY") from error
    if as_json:
        _screen.as_json(key=key, found=_entries(key))
        return
    wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in text.rstrip().splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        wrapped = textwrap.wrap(line, wide, subsequent_indent=indent + "    ")
        for part in wrapped:
            _screen.line(part)


def keys(incomplete: str) -> list[tuple[str, str]]:
    """Returns the sections, and the keys of the one that is begun, with meanings."""
    whole = config.schema()
    found = {name: about["description"] for name, about in whole["properties"].items()}
    section, dot, _ = incomplete.partition(".")
    if dot and section in found:
        for entry in _entries(section):
            name = f"{section}.{entry['type']}"
            found[name] = entry["description"]
            for key, about in entry["keys"].items():
                found.setdefault(f"{section}.{key}", about.get("description", ""))
    return [*found.items()]


def _overview(*, as_json: bool) -> None:
    found = {
        name: about["description"]
        for name, about in config.schema()["properties"].items()
    }
    if as_json:
        _screen.as_json(sections=found)
        return
    _screen.sheet("Keys of the file", found.items())
    _screen.say("`optaxctl explain KEY` says more, as of `lr` or `lr.patience`.")


def _entries(key: str) -> list[dict[str, Any]]:
    """Returns what a key is in each type of its section, as JSON Schema has it."""
    section, *rest = key.split(".")
    whole = config.schema()
    about = whole["properties"][section]
    if "anyOf" not in about:
        return [about]
    group = about["anyOf"][0]["$ref"].rpartition("/")[2]
    found = []
    for name, made in whole["$defs"].items():
        if not name.startswith(f"{group}."):
            continue
        kind, said = name.removeprefix(f"{group}."), made["description"]
        properties = {n: v for n, v in made["properties"].items() if n != "type"}
        if not rest or rest == [kind]:
            found.append({"type": kind, "description": said, "keys": properties})
        elif rest[-1] in properties and rest[0] in (kind, rest[-1]):
            found.append({"type": kind, "key": rest[-1], **_under(properties, rest)})
    # `plateau` is a type of `lr`, and a key of another; as `explain` tells them.
    return sorted(found, key=lambda entry: "key" in entry)


def _under(properties: dict[str, Any], rest: list[str]) -> dict[str, Any]:
    about = properties[rest[-1]]
    return {("takes" if name == "type" else name): v for name, v in about.items()}
