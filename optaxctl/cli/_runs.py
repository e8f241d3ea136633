"""`optaxctl runs`, `show` and `events`: what was recorded, on a terminal."""

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from optaxctl.cli import _screen, _sheet
from optaxctl.cli._exit import FAILED, INTERRUPTED, NOT_FOUND
from optaxctl.host import _database
from optaxctl.host._format import NOTHING, count, number
from optaxctl.host._recorded import Level, Run, Status
from optaxctl.host._summary import TrainingSummary, merit, rank
from optaxctl.host.runs import Project, UnknownRun

EVERY = 0.5  # seconds between two looks at a run that is followed
HEAD = ("run", "status", "steps", "best", "learning rate", "events", "updated")

# By column; the best, the largest and the latest come first, then those without.
_ORDERS: dict[str, Callable[[Run], Any]] = {
    "run": lambda run: run.key,
    "status": lambda run: run.status,
    "steps": lambda run: -run.step,
    "best": lambda run: merit(run.summary),
    "learning-rate": lambda run: _falling(_last(run, "learning_rate")),
    "events": lambda run: -_events(run),
    "updated": lambda run: -run.updated,
}


@contextmanager
def opened(directory: Path) -> Iterator[Project]:
    """Opens a project; what goes wrong with it is a message and an exit status."""
    try:
        yield _found(directory)
    except UnknownRun as error:
        _screen.say(error)
        raise typer.Exit(NOT_FOUND) from error
    except (sqlite3.Error, json.JSONDecodeError) as error:
        _screen.say(f"{directory / _database.FILE} cannot be read: {error}.")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error


def _found(directory: Path) -> Project:
    try:
        project = Project(directory)
        with _database.reading(project.path):
            return project
    except FileNotFoundError as error:
        hint = "Name another directory with --directory or OPTAXCTL_HOME."
        raise UnknownRun(f"{error} {hint}") from error
    except (OSError, ValueError) as error:  # a later release wrote it
        _screen.say(error)
        raise typer.Exit(FAILED) from error


def listing(
    project: Project,
    status: Status | None,
    sort: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Prints the newest runs, or the first by a column, one a line."""
    found = project.runs(status)
    if sort is not None:
        found.sort(key=_ORDERS[sort])
    runs = found[:limit]
    if as_json:
        _screen.as_json(runs=[fields(run) for run in runs])
    elif runs:
        _screen.table(HEAD, map(_row, runs))
    if not runs:
        _screen.say(f"{project.directory} has no {status + ' ' if status else ''}runs.")
    elif len(found) > len(runs):
        which = "first" if sort else "newest"
        said = f"The {which} {limit:,} of {count(len(found), 'run')}"
        _screen.say(f"{said}; --limit {len(found)} shows all.")


def show(run: Run, *, as_json: bool) -> None:
    """Prints how a run stands, on one screen."""
    summary = TrainingSummary.of(run)
    events = run.events()
    if as_json:
        _screen.as_json(
            run=fields(run) | {"config": run.config, "environment": run.environment},
            summary=summary.as_json(),
            events=[asdict(event) for event in events[-_sheet.SHOWN :]],
        )
        return
    rows = [*_sheet.standing(run, summary), *_sheet.happened(events)]
    _screen.sheet(_sheet.title(run), rows)


def events(
    project: Project, run: Run, severity: Level | None, *, follow: bool, as_json: bool
) -> None:
    """Prints what happened in a run, one event a line."""
    seen = 0
    while True:
        # In this order, what it did just before it ended is not missed.
        ended = project.run(run.key).status != "running"
        for event in run.events(severity, after=seen):
            seen = event.id
            if as_json:
                _screen.as_json(run=run.key, **asdict(event))
            else:
                _screen.line(f"{event.severity:<9}  {_sheet.told(event)}")
        if ended or not follow:
            break
        time.sleep(EVERY)
    if follow:
        _screen.say(f"{run.key}: {project.run(run.key).status}.")


def fields(run: Run) -> dict[str, object]:
    """Returns what `-o json` tells of a run wherever it does."""
    names = ("key", "name", "status", "started", "updated", "ended", "step", "reason")
    return {name: getattr(run, name) for name in (*names, "summary")}


def _row(run: Run) -> list[str]:
    best = run.summary.get("best", {})
    metric = min(best, key=rank, default=None)
    return [
        run.key,
        run.status,
        f"{run.step:,}",
        f"{metric} {number(best[metric][0])}" if metric else NOTHING,
        number(_last(run, "learning_rate")),
        f"{_events(run):,}",
        _sheet.ago(run.updated),
    ]


def _falling(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else -value


def _last(run: Run, name: str) -> float | None:
    return run.summary.get("last", {}).get(name)


def _events(run: Run) -> int:
    return sum(run.summary.get("events", {}).values())
