"""`optaxctl watch`: a run while it goes on."""

import os
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from optaxctl.cli import _screen, _sheet
from optaxctl.cli._chart import Bars, bars
from optaxctl.cli._runs import EVERY, fields
from optaxctl.host._format import number
from optaxctl.host._recorded import Event, Run
from optaxctl.host._sampled import sampled
from optaxctl.host._summary import TrainingSummary, rank
from optaxctl.host.runs import Project

_WIDEST = 100  # characters of a chart
_SCALE, _ONE_LINE = 16, 24  # characters beside it
_SIZES = ((3, 5), (2, 5), (2, 3), (1, 3), (1, 1))  # lines of a chart, and events
_COLOURS = ("cyan", "blue", "magenta")  # of the charts, from the top down
_CALLED = {"learning_rate": "learning rate"}


class Look(NamedTuple):
    """A run as it stands, and what has happened since the last look."""

    run: Run
    events: list[Event]
    new: list[Event]
    moved: bool


def watch(project: Project, run: Run, *, as_json: bool) -> None:
    """Shows a run until it has ended: on a terminal in place, else line by line."""
    looks = _looks(project, run.key)
    try:
        if not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            with Live(console=_screen.console(), auto_refresh=False) as live:
                for look in looks:
                    live.update(Screen(look), refresh=True)
            return
        for look in filter(lambda look: look.moved, looks):
            if as_json:
                events = [asdict(event) for event in look.new]
                _screen.as_json(run=fields(look.run), events=events)
            else:
                _tell(look)
    except KeyboardInterrupt:
        if project.run(run.key).status == "running":
            _screen.say(f"{run.key} goes on.")
        raise


class Screen:
    """The sheet of a run with its charts, in as many lines as a terminal has."""

    def __init__(self, look: Look):
        self._run, self._events = look.run, look.events

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        """Yields the lines; what does not fit on one is cut."""
        summary = TrainingSummary.of(self._run)
        standing = _sheet.standing(self._run, summary)
        names = _drawn(summary)
        room = console.height - len(standing) - 4  # title, steps, hint and cursor
        fits = lambda size: size[0] * len(names) + size[1] + 1 <= room
        height, shown = next(filter(fits, _SIZES), _SIZES[-1])
        happened = _sheet.happened(self._events, shown)
        rows: list[tuple[str, str | Text]] = [*standing]
        margin = _screen.margin(name for name, _ in [*standing, *happened])
        beside = _ONE_LINE if height == 1 else _SCALE
        width = min(options.max_width - margin - beside, _WIDEST)
        if width > 0:
            rows += self._charts(names, width, height)
        rows += happened
        for text in _screen.sheet_lines(_sheet.title(self._run), rows):
            text.truncate(options.max_width, overflow="ellipsis")
            yield text
        if self._run.status == "running":
            yield Text("Ctrl-C ends the watching, not the run.", "dim")

    def _charts(
        self, names: Sequence[str], width: int, height: int
    ) -> Iterator[tuple[str, Text]]:
        """Yields the charts on one axis of steps, which has a mark at each event."""
        edges, series = sampled(self._run, names, width)
        drawn = {
            _CALLED.get(name, name): chart
            for name, values in series.items()
            if (chart := bars(values, height, zero=name == "learning_rate"))
        }
        for (called, chart), colour in zip(drawn.items(), _COLOURS, strict=False):
            yield from _rows(called, chart, colour)
        if drawn:
            axis = ["─"] * width
            for event in self._events:
                place = min(bisect_right(edges, event.step), width) - 1
                axis[max(place, 0)] = "▲"
            yield "", Text.assemble(("".join(axis), "dim"), f" step {edges[-1] - 1:,}")


def _looks(project: Project, key: str) -> Iterator[Look]:
    """Yields the run again and again, the last time when it has ended."""
    before, seen = None, 0
    while True:
        run = project.run(key)
        events = run.events()
        new = [event for event in events if event.id > seen]
        yield Look(run, events, new, bool(new) or run != before)
        if run.status != "running":
            return
        before, seen = run, max([seen, *(event.id for event in new)])
        time.sleep(EVERY)


def _tell(look: Look) -> None:
    """Prints what is new, one line for each event and one for where the run is."""
    run = look.run
    for event in look.new:
        _screen.line(_sheet.told(event))
    last = run.summary.get("last", {})
    names = [*sorted(run.summary.get("best", {}), key=rank), "learning_rate"]
    said = [f"{name} {number(last[name])}" for name in names if name in last]
    status = run.status if run.status == "running" else run.status.upper()
    _screen.line("  ".join([f"{run.step:>9,}", status, *said, run.reason]).rstrip())


def _drawn(summary: TrainingSummary) -> list[str]:
    """Returns the names of the series that are drawn, from the top down."""
    first = sorted(summary.best, key=rank)[:1]
    return list(dict.fromkeys([*first, "loss", "learning_rate"]))


def _rows(name: str, chart: Bars, colour: str) -> Iterator[tuple[str, Text]]:
    """Yields the lines of a chart with its scale at their ends."""
    low, high = number(chart.low), number(chart.high) + " log" * chart.is_log
    ends = [high, *[""] * (len(chart.lines) - 2), low]
    if len(chart.lines) == 1:
        ends = [f"{low} to {high}"]
    for place, (line, end) in enumerate(zip(chart.lines, ends, strict=True)):
        yield "" if place else name, Text.assemble((line, colour), f" {end}".rstrip())
