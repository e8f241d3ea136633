"""`optaxctl run`: the user's function, called with what a file describes."""

import contextlib
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import typer

from optaxctl.cli import _screen, _user
from optaxctl.cli._exit import FAILED
from optaxctl.cli._options import HOME
from optaxctl.host._extras import load
from optaxctl.host._format import count, number
from optaxctl.host._recorded import Run, identity
from optaxctl.host.config import Config
from optaxctl.host.config._reading import verified
from optaxctl.host.runs import Project


def run(
    name: str,
    path: Path,
    settings: dict[str, str],
    *,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Calls a function with a configuration."""
    _user.here()
    with _user.told():
        read = verified(path, overrides=settings)
    function = _user.function(name, read, takes="one argument, the configuration")
    saved = _saved(read)
    if resume:
        _going_on(read, saved)
    elif saved is not None:
        _screen.say(
            f"{_directory(read)} holds a checkpoint of step {saved:,}. --resume goes "
            "on from it; for a new run name another `checkpointing.directory`."
        )
        raise typer.Exit(FAILED)
    if dry_run:
        _plan(name, read, saved, as_json=as_json)
        return
    began = time.time()
    again = "--resume goes on from the last checkpoint." if read.checkpointing else ""
    aside = contextlib.redirect_stdout(sys.stderr) if as_json else None
    with _user.told(again), aside or contextlib.nullcontext():
        _called(function, read)
    _ended(read, began, as_json=as_json)


def _called(function: Any, read: Config) -> None:
    from optaxctl.host.interrupt import Interrupted

    try:
        function(read)
    except Interrupted as error:
        if read.recording is None:  # otherwise it is why the recorded run ended
            _screen.say(error)
    except SystemExit as error:
        if error.code:
            raise


def _directory(read: Config) -> str | None:
    return read.checkpointing and read.checkpointing.directory


def _saved(read: Config) -> int | None:
    """Returns the step of the newest checkpoint, and writes nothing."""
    if (directory := _directory(read)) is None:
        return None
    paths = load("etils.epath", extra="orbax", who="`checkpointing`")
    from optaxctl.host._aside import INTERIM

    steps = [
        int(each.name)
        for place in (paths.Path(directory), paths.Path(directory) / INTERIM)
        if place.exists()
        for each in place.iterdir()
        if each.name.isdecimal()
    ]
    return max(steps, default=None)


def _going_on(read: Config, saved: int | None) -> None:
    """Says where the run goes on; the loop itself finds what is recorded of it."""
    if (directory := _directory(read)) is None:
        message = "There is no `checkpointing` in the file, so nothing to go on from."
        raise typer.BadParameter(message, param_hint="--resume")
    _screen.say(
        f"{directory} holds no checkpoint: the run starts at its beginning."
        if saved is None
        else f"Going on from step {saved:,} in {directory}."
    )


def _recorded(read: Config) -> list[Run]:
    if read.recording is None:
        return []
    try:
        return Project(read.recording.directory).runs()
    except (OSError, ValueError, sqlite3.Error):  # the history has said so
        return []


def _plan(name: str, read: Config, saved: int | None, *, as_json: bool) -> None:
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
    """Tells how the run ended that this process has recorded, if there is one."""
    found = [
        one
        for one in _recorded(read)
        if one.updated >= began and identity().items() <= one.environment.items()
    ]
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
