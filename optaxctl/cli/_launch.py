"""`optaxctl run`: the user's function, called with what a file describes."""

import contextlib
import inspect
import os
import sys
import time
from pathlib import Path
from typing import Any

import typer

from optaxctl.cli import _screen, _user
from optaxctl.cli._options import HOME
from optaxctl.host import config
from optaxctl.host._extras import load
from optaxctl.host._format import count, number
from optaxctl.host._recorded import Run
from optaxctl.host.config import Config
from optaxctl.host.runs import Project

_INTERIM = "interim"  # where the loop keeps what it needs within an epoch


def run(
    name: str,
    path: Path,
    settings: dict[str, str],
    *,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Calls a function with a configuration and the run to go on with."""
    _user.here()
    with _user.told():
        read = config.read(path, overrides=settings)
        read.check()
    function = _user.function(name)
    try:
        inspect.signature(function).bind(read, None)
    except TypeError as error:
        raise typer.BadParameter(
            f"`{name}` must take two arguments, the configuration and the key of the "
            f"run to go on with: {error}.",
            param_hint="MODULE:FUNCTION",
        ) from error
    saved, key = _saved(read), None
    if resume:
        key = _resumed(read, saved)
    elif saved is not None:
        _screen.say(
            f"{_directory(read)} holds a checkpoint of step {saved:,}. --resume goes "
            "on from it; for a new run name another `checkpointing.directory`."
        )
        raise typer.Exit(_user.FAILED)
    if dry_run:
        _plan(name, read, saved, key, as_json=as_json)
        return
    began = time.time()
    again = "--resume goes on from the last checkpoint." if read.checkpointing else ""
    aside = contextlib.redirect_stdout(sys.stderr) if as_json else None
    with _user.told(again), aside or contextlib.nullcontext():
        _called(function, read, key)
    _ended(read, began, as_json=as_json)


def _called(function: Any, read: Config, key: str | None) -> None:
    from optaxctl.host.interrupt import Interrupted

    try:
        function(read, key)
    except Interrupted as error:
        if read.recording is None:  # otherwise it is why the recorded run ended
            _screen.say(error)


def _directory(read: Config) -> str | None:
    return read.checkpointing and read.checkpointing.directory


def _saved(read: Config) -> int | None:
    """Returns the step of the newest checkpoint, and writes nothing."""
    if (directory := _directory(read)) is None:
        return None
    paths = load("etils.epath", extra="orbax", who="`checkpointing`")
    steps = [
        int(each.name)
        for place in (paths.Path(directory), paths.Path(directory) / _INTERIM)
        if place.exists()
        for each in place.iterdir()
        if each.name.isdecimal()
    ]
    return max(steps, default=None)


def _resumed(read: Config, saved: int | None) -> str | None:
    """Returns the key of the recorded run that the checkpoints are of, if any."""
    if (directory := _directory(read)) is None:
        message = "There is no `checkpointing` in the file, so nothing to go on from."
        raise typer.BadParameter(message, param_hint="--resume")
    if saved is None:
        _screen.say(
            f"{directory} holds no checkpoint: the run starts at its beginning."
        )
        return None
    found = [one for one in _recorded(read) if _same(one, read)]
    again = f", and {found[0].key} is recorded on" if found else ""
    _screen.say(f"Going on from step {saved:,} in {directory}{again}.")
    return found[0].key if found else None


def _same(one: Run, read: Config) -> bool:
    said = one.config.get("checkpointing") or {}
    same = one.name == read.recording.name
    return same and said.get("directory") == _directory(read)


def _recorded(read: Config) -> list[Run]:
    if read.recording is None:
        return []
    try:
        return Project(read.recording.directory).runs()
    except FileNotFoundError:
        return []


def _plan(
    name: str, read: Config, saved: int | None, key: str | None, *, as_json: bool
) -> None:
    """Prints what would be."""
    rate, controller = read.rate(), read.controller()
    first: Any = rate(0) if callable(rate) else rate
    start = None if first is None else float(first)
    if as_json:
        _screen.as_json(
            function=name,
            controller=controller and repr(controller),
            learning_rate=start,
            checkpoint=saved,
            resume=key,
            config=read.as_dict(),
        )
        return
    signals = sorted(controller.signals) if controller else []
    rows = [
        ("control", repr(controller)),
        ("reads", ", ".join(signals)),
        ("learning rate", "the optimizer's own" if start is None else number(start)),
        ("schedule", _written(read.as_dict().get("schedule"))),
        ("optimizer", _pairs(read.optimizer)),
        ("training", _pairs(read.loop())),
        ("checkpoints", str(_directory(read))),
        ("recorded in", str(read.recording and read.recording.directory)),
    ]
    if start is not None and callable(rate):
        rows[2] = ("learning rate", f"{number(start)} at step 0, by the schedule")
    rows = [row for row in rows if row[1] not in ("None", "")]
    _screen.sheet(f"{name} would be called, with:", rows)


def _written(said: Any) -> str:
    """Returns a rule as the call that it is."""
    if not isinstance(said, dict):
        return str(said)
    pairs = {name: _written(value) for name, value in said.items() if name != "type"}
    return f"{said['type']}({', '.join(f'{n}={v}' for n, v in pairs.items())})"


def _pairs(values: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _ended(read: Config, began: float, *, as_json: bool) -> None:
    """Tells how the recorded run ended, if there is one."""
    found = [one for one in _recorded(read) if one.updated >= began]
    one = found[0] if found else None
    if as_json:
        fields = one and {n: getattr(one, n) for n in ("status", "reason", "summary")}
        _screen.as_json(run=one and one.key, **(fields or {}))
    elif one is not None:
        told = f"{one.key}: {one.status} after {count(one.step, 'step')}. {one.reason}"
        place = one.path.parent
        usual = place == Path(os.environ.get(HOME, "runs"))
        more = f"optaxctl show {one.key}" + ("" if usual else f" --directory {place}")
        _screen.say(f"{told.rstrip()} `{more}` tells more.")
