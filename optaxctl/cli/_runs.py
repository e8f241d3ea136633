"""`optaxctl runs`, `show` and `events`: what was recorded, on a terminal."""

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer

from optaxctl.cli import _screen
from optaxctl.host._format import NOTHING, count, duration, number
from optaxctl.host._recorded import Event, Level, Run, Status
from optaxctl.host._summary import TrainingSummary
from optaxctl.host.runs import Project, UnknownRun

FAILED, NOT_FOUND, INTERRUPTED = 1, 3, 130

_SHOWN = 5  # events on the screen of a run
_EVERY = 0.5  # seconds between two looks at a run that is followed
_HEAD = ("run", "status", "steps", "best", "learning rate", "events", "updated")


@contextmanager
def opened(directory: Path) -> Iterator[Project]:
    """Opens a project; what goes wrong with it is a message and an exit status."""
    try:
        try:
            project = Project(directory)
        except FileNotFoundError as error:
            hint = "Name another directory with --directory or OPTAXCTL_HOME."
            raise UnknownRun(f"{error} {hint}") from error
        yield project
    except UnknownRun as error:
        _screen.say(error)
        raise typer.Exit(NOT_FOUND) from error
    except sqlite3.Error as error:
        path = directory / "optaxctl.db"
        _screen.say(f"{path} cannot be read: {error}.")
        raise typer.Exit(FAILED) from error
    except (OSError, ValueError) as error:
        _screen.say(error)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error


def listing(
    project: Project, status: Status | None, limit: int, *, as_json: bool
) -> None:
    """Prints the newest runs, one a line."""
    found = project.runs(status)
    runs = found[:limit]
    if as_json:
        _screen.as_json(runs=[_fields(run) for run in runs])
    elif runs:
        _screen.table(_HEAD, map(_row, runs))
    if not runs:
        _screen.say(f"{project.directory} has no {status or ''} runs.")
    elif len(found) > len(runs):
        last = f"The newest {limit:,} of {count(len(found), 'run')}"
        _screen.say(f"{last}; --limit {len(found)} shows all.")


def show(run: Run, *, as_json: bool) -> None:
    """Prints how a run stands, on one screen."""
    summary = TrainingSummary.of(run)
    events = run.events()
    last = events[-_SHOWN:]
    if as_json:
        _screen.as_json(
            run=_fields(run) | {"config": run.config, "environment": run.environment},
            summary=summary.as_json(),
            events=[asdict(event) for event in last],
        )
        return
    rows = [("", run.reason)] if run.reason else []
    rows += [*_metrics(summary), *_rate(summary), *_gauges(summary)]
    rows += [(name, summary.rows()[name]) for name in ("steps", "time")]
    if len(events) > len(last):
        rows.append(("events", f"the last {len(last)} of {len(events):,}:"))
    for place, event in enumerate(last):
        first = place == 0 and len(events) == len(last)
        rows.append(("events" if first else "", _told(event)))
    _screen.sheet(_title(run), rows)


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
                _screen.line(f"{event.severity:<9}  {_told(event)}")
        if ended or not follow:
            break
        time.sleep(_EVERY)
    if follow:
        _screen.say(f"{run.key}: {project.run(run.key).status}.")


def _fields(run: Run) -> dict[str, object]:
    names = ("key", "name", "status", "started", "updated", "ended", "step", "reason")
    return {name: getattr(run, name) for name in (*names, "summary")}


def _row(run: Run) -> list[str]:
    summary = run.summary
    best, last = summary.get("best", {}), summary.get("last", {})
    metric = min(best, key=_rank, default=None)
    return [
        run.key,
        run.status,
        f"{run.step:,}",
        f"{metric} {number(best[metric][0])}" if metric else NOTHING,
        number(last.get("learning_rate")),
        f"{sum(summary.get('events', {}).values()):,}",
        _ago(run.updated),
    ]


def _title(run: Run) -> str:
    # A key begins with the name, unless that was no word.
    called = run.key if run.key.startswith(run.name) else f"{run.key} ({run.name})"
    made = run.environment
    parts = [f"run {called}", run.status.upper(), f"step {run.step:,}"]
    parts.append(f"updated {_ago(run.updated)}")
    if "jax" in made:
        parts.append(f"jax {made['jax']} {made.get('device', '')}".rstrip())
    return "   ".join(parts)


def _metrics(summary: TrainingSummary) -> Iterator[tuple[str, str]]:
    for name in sorted(summary.best, key=_rank):
        value, step = summary.best[name]
        best = f"best {number(value)} at step {step:,}"
        yield name, f"{number(summary.last.get(name))}   {best}"


def _rate(summary: TrainingSummary) -> Iterator[tuple[str, str]]:
    last = summary.last
    if (rate := last.get("learning_rate")) is not None:
        text = number(rate)
        if (scale := last.get("lr_scale", 1.0)) != 1:
            text += f"   after a scale of {number(scale)}"
        if summary.learning_rate and len(set(summary.learning_rate)) > 1:
            low, high = map(number, summary.learning_rate)
            text += f"   it was {low} to {high}"
        yield "learning rate", text
    if (norm := last.get("grad_norm")) is not None:
        limit = last.get("clip_norm", math.inf)
        clip = f"   clipped above {number(limit)}" if math.isfinite(limit) else ""
        yield "gradient norm", number(norm) + clip


def _gauges(summary: TrainingSummary) -> Iterator[tuple[str, str]]:
    """Yields what each controller measures: what is to beat, and how long it waits."""
    found: dict[str, list[str]] = {}
    for name, value in summary.last.items():
        path, _, gauge = name.removeprefix("gauge/").rpartition("/")
        if name.startswith("gauge/") and math.isfinite(value):
            words = f"{gauge.replace('_', ' ')} {number(value)}"
            found.setdefault(path or gauge, []).append(words)
    for path, told in found.items():
        yield path, ", ".join(told)


def _told(event: Event) -> str:
    change = ""
    if event.old is not None and event.new is not None:
        change = f"  {number(event.old)} → {number(event.new)}"
    said = " ".join(filter(None, (event.reason, event.outcome)))
    return f"{event.step:>9,}  {event.actor}  {event.kind}{change}  {said}".rstrip()


def _rank(name: str) -> tuple[bool, bool]:
    # As `report.compare` chooses; what it is made of would import numpy.
    return not name.startswith("val"), "loss" not in name


def _ago(moment: float) -> str:
    return f"{duration(max(time.time() - moment, 0))} ago"
