"""The report of one run, or of several laid over each other."""

from __future__ import annotations

import string
from html import escape
from typing import TYPE_CHECKING

from optaxctl.host._summary import TrainingSummary
from optaxctl.report import _events, _page, _words
from optaxctl.report._compare import Comparison, different
from optaxctl.report._panels import Panel, panels

if TYPE_CHECKING:
    from optaxctl.host.runs import Run


def html(run: Run, *others: Run) -> str:
    """Returns the report of a run as one page that needs nothing but itself.

    First a sentence on how the run ended, then charts of all that was recorded on one
    axis of steps, with numbered markers where a controller did something, then what
    they did and why, whether the run overfits, the time of each epoch, configuration
    and environment. With `others` the charts lie over each other, a table names the
    best run, and of the configurations only what differs comes first.

    The page has its scripts in it and asks no server for anything; every word of the
    run is text in it, so it cannot be one of its scripts. Beyond 2,000 steps a line
    shows the extremes of each of 1,000 stretches, and the page says so. In a notebook
    it shows itself.

    Args:
      run: As far as it is recorded; it may be under way.
      *others: Runs to compare it with, of any project.

    Returns:
      The page, to be written as UTF-8.

    Example:
      >>> import tempfile, optaxctl as octl
      >>> with octl.history.History(tempfile.mkdtemp(), name="digits") as history:
      ...     history.evaluated(20, val_loss=0.5)
      >>> run = octl.runs.Project(history.directory).run("@latest")
      >>> octl.report.html(run)[:15]
      '<!doctype html>'
    """
    runs = [run, *others]
    moving, still = panels(runs)
    return _several(runs, moving, still) if others else _single(run, moving, still)


def _single(run: Run, moving: list[Panel], still: list[Panel]) -> str:
    summary = TrainingSummary.of(run)
    events, total = _events.numbered(run)
    charts, data = _page.charts(moving, ())
    sections = [
        _page.section(
            "What the controllers did", _events.table(run, events, total), key="done"
        ),
        _page.section("Overfitting", _fit(moving, 0)),
        _page.epochs(summary),
        _page.settings(run),
    ]
    return _page.page(
        title=escape(summary.name),
        kicker=escape(_page.when(run)),
        status=escape(summary.status),
        verdict=escape(_words.verdict(summary)),
        facts=_page.facts(summary),
        charts=charts + _unchanged(still),
        note=_page.thinned(moving),
        sections="".join(sections),
        data={
            "panels": data,
            "events": _events.markers(events),
            "steps": _range(moving, [event.step for _, event in events]),
            "faint": 0.5,
        },
    )


def _several(runs: list[Run], moving: list[Panel], still: list[Panel]) -> str:
    comparison = Comparison.of(runs)
    letters = string.ascii_uppercase
    names = comparison.names
    charts, data = _page.charts(moving, names)
    marks, done, settings = [], [], []
    for place, (run, name) in enumerate(zip(runs, names, strict=True)):
        letter = letters[place % len(letters)] * (1 + place // len(letters))
        events, total = _events.numbered(run, letter)
        marks += _events.markers(events)
        head = f'<h3><span class="swatch c{place % _page.COLOURS}"></span>'
        head += f"{escape(name)} ({letter})</h3>"
        done.append(head + _events.table(run, events, total))
        done.append(f"<p>{escape(_words.verdict(comparison.runs[place]))}</p>")
        done.append(_fit(moving, place))
        both = _page.settings(run, place)
        settings.append(f"<details><summary>{escape(name)}</summary>{both}</details>")
    marks.sort(key=lambda mark: mark["step"])
    head, body = comparison.table()
    rows = different(runs)
    differ = (
        _page.table(["name", *names], rows) if rows else "<p>They are the same.</p>"
    )
    sections = [
        _page.section("Results", _page.table(head, body)),
        _page.section("What the controllers did", "".join(done), key="done"),
        _page.section("Configuration: what differs", differ, key="differs"),
        _page.section("Configuration and environment", "".join(settings)),
    ]
    return _page.page(
        title=escape(" against ".join(names)),
        kicker=f"{len(runs)} runs",
        status="finished",
        verdict=escape(str(comparison)),
        facts="",
        charts=charts + _unchanged(still),
        note=_page.thinned(moving),
        sections="".join(sections),
        data={
            "panels": data,
            "events": marks,
            "steps": _range(moving, [mark["step"] for mark in marks]),
            "faint": 0.25,
        },
    )


def _fit(moving: list[Panel], place: int) -> str:
    fit = _words.fit(moving, place)
    word = {"none": "no", "overfitting": "yes"}.get(fit.word, fit.word)
    return (
        f'<p><span class="fit" data-fit="{fit.word}">{word}</span>. '
        f"{escape(fit.text)}</p>"
    )


def _unchanged(still: list[Panel]) -> str:
    if not still:
        return ""
    text = escape(", ".join(_words.still(still)))
    return f'<p class="note">The same throughout: {text}.</p>'


def _range(moving: list[Panel], also: list[int]) -> tuple[int, int]:
    """Returns the first and the last step of all charts."""
    ends = [int(line.steps[n]) for p in moving for line in p.lines for n in (0, -1)]
    ends += also
    return (min(ends), max(max(ends), min(ends) + 1)) if ends else (0, 1)
