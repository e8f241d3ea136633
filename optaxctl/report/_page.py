"""The report as one page: HTML that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

from optaxctl.host._format import NOTHING, count, duration, number
from optaxctl.report import _words
from optaxctl.report._panels import Panel
from optaxctl.report._thin import POINTS, thin

if TYPE_CHECKING:
    from optaxctl.host._summary import TrainingSummary
    from optaxctl.host.runs import Run

COLOURS = 6


class Page(str):
    """The text of a page; a notebook shows it in a frame of its own."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        # A frame keeps the styles and scripts of the page and the notebook apart.
        return (
            f'<iframe title="optaxctl report" srcdoc="{escape(self)}" '
            'sandbox="allow-scripts" width="100%" height="900" '
            'style="border: 0"></iframe>'
        )


def page(*, data: dict[str, Any], **parts: str) -> Page:
    """Fills the frame: `parts` are HTML, and `data` is for the script."""
    style = _static("uPlot.min.css") + _static("page.css")
    library, script = _static("uPlot.iife.min.js"), _static("page.js")
    # Only what this library wrote may run or be a style, whatever the data holds.
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"script-src {_hash(library)} {_hash(script)}; style-src {_hash(style)}"
    )
    text = Template(_static("page.html")).substitute(
        parts,
        policy=policy,
        style=style,
        library=library,
        licence=_static("uPlot.LICENSE"),
        script=script,
        data=_json(data),
    )
    return Page(text)


def facts(summary: TrainingSummary) -> str:
    """Returns the numbers under the verdict."""
    known = {"steps": f"{summary.steps:,}"}
    for name, (value, step) in summary.best.items():
        known[f"best {name}"] = f"{number(value)} at step {step:,}"
    if summary.learning_rate:
        low, high = map(number, summary.learning_rate)
        known["learning rate"] = low if low == high else f"{low} to {high}"
    known["time"] = duration(summary.seconds)
    if math.isfinite(summary.seconds_per_step):
        known["per step"] = duration(summary.seconds_per_step)
    if summary.seconds_per_epoch is not None:
        known["per epoch, median"] = duration(summary.seconds_per_epoch)
    rows = (
        f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in known.items()
    )
    return f'<dl class="facts">{"".join(rows)}</dl>'


def charts(panels: Sequence[Panel], names: Sequence[str]) -> tuple[str, list[Any]]:
    """Returns the frames of the charts, and what the script draws in them.

    Gauges are behind one line to click on. `names` are of the runs, if several.
    """
    drawn = [_chart(n, panel, names) for n, panel in enumerate(panels)]
    main = [
        frame
        for panel, (frame, _) in zip(panels, drawn, strict=True)
        if not panel.aside
    ]
    aside = [
        frame for panel, (frame, _) in zip(panels, drawn, strict=True) if panel.aside
    ]
    text = "".join(main)
    if aside:
        text += (
            f"<details><summary>{count(len(aside), 'chart')} more: what the "
            f"controllers show of themselves</summary>{''.join(aside)}</details>"
        )
    return text, [data for _, data in drawn]


def _chart(place: int, panel: Panel, names: Sequence[str]) -> tuple[str, Any]:
    called = [panel.label(line, names) for line in panel.lines]
    lines, words = [], []
    for line, name in zip(panel.lines, called, strict=True):
        steps, values = thin(line.steps, line.values)
        lines.append(
            {
                "label": name,
                "kind": line.kind,
                "colour": panel.colour(line, names) % COLOURS,
                "faint": panel.faint(line),
                "steps": steps.tolist(),
                "values": [_short(v) for v in values.tolist()],
            }
        )
        words.append(_words.line(line, name))
    key = f"chart-{place}"
    note = " Logarithmic scale." if panel.log else ""
    frame = (
        f'<figure><h3 id="{key}">{escape(panel.title)}</h3>'
        f'<div class="chart" data-panel="{place}" tabindex="0" role="group" '
        f'aria-roledescription="chart" aria-labelledby="{key}" '
        f'aria-describedby="{key}-words"></div>'
        "<figcaption><details><summary>In words and numbers</summary>"
        f'<p id="{key}-words">{escape(" ".join(words))}{note}</p>'
        f"{_samples(panel, called)}</details></figcaption></figure>"
    )
    return frame, {"key": panel.key, "log": panel.log, "lines": lines}


def _samples(panel: Panel, called: Sequence[str], rows: int = 12) -> str:
    """Returns a table of a few steps, each with the last value up to it."""
    longest = max((line.steps for line in panel.lines), key=len)
    picks = range(rows) if len(longest) > rows else range(len(longest))
    at = [int(longest[n * (len(longest) - 1) // max(len(picks) - 1, 1)]) for n in picks]
    body = []
    for step in at:
        cells = [f"{step:,}"]
        for line in panel.lines:
            place = int(line.steps.searchsorted(step, side="right")) - 1
            value = line.values[place] if place >= 0 else math.nan
            cells.append(number(float(value)) if math.isfinite(value) else NOTHING)
        body.append(cells)
    return table(["step", *called], body, numeric=True)


def table(
    head: Sequence[str],
    body: Iterable[Sequence[str]],
    *,
    caption: str = "",
    numeric: bool = False,
) -> str:
    """Returns a table of text; the first cell of a row is its heading."""
    kind = ' class="n"' if numeric else ""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    heads = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name in head)
    rows = (
        f'<tr><th scope="row"{kind}>{escape(first)}</th>'
        + "".join(f"<td{kind or _long(cell)}>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in body
    )
    return (
        f'<div class="scroll"><table class="data">{title}'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _long(cell: str) -> str:
    return ' class="long"' if len(cell) > 30 else ' class="short"'


def section(title: str, body: str, key: str = "") -> str:
    """Returns a part of the page; `key` is for links to it."""
    key = key or title.lower().replace(" ", "-")
    head = f'<h2 id="{key}">{escape(title)}</h2>'
    return f'<section aria-labelledby="{key}">{head}{body}</section>'


def epochs(summary: TrainingSummary) -> str:
    """Returns the time of each epoch as bars, with a sentence; empty without epochs."""
    if not summary.epochs or summary.seconds_per_epoch is None:
        return ""
    numbers, seconds = zip(*summary.epochs, strict=True)
    slowest = max(seconds)
    at = numbers[seconds.index(slowest)]
    text = (
        f"{count(len(seconds), 'epoch')}, {duration(summary.seconds_per_epoch)} in the "
        f"median; the slowest was epoch {at:,} with {duration(slowest)}."
    )
    wide = 1000 / len(seconds)
    bars = "".join(
        f'<rect x="{n * wide:.2f}" y="{90 - 90 * s / slowest:.2f}" '
        f'width="{max(0.8 * wide, 0.5):.2f}" height="{90 * s / slowest:.2f}">'
        f"<title>epoch {numbers[n]:,}: {duration(s)}</title></rect>"
        for n, s in enumerate(seconds)
        if slowest > 0
    )
    picture = (
        f'<svg class="bars" viewBox="0 0 1000 90" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(text)}">{bars}</svg>'
    )
    return section("Time per epoch", f"<p>{escape(text)}</p>{picture}")


def settings(run: Run, place: int = 0) -> str:
    """Returns configuration and environment, by the path of each value."""
    parts = []
    for title, tree in (
        ("Configuration", run.config),
        ("Environment", run.environment),
    ):
        rows = list(_words.flat(tree).items())
        body = table(["name", "value"], rows) if rows else "<p>None was recorded.</p>"
        parts.append(section(title, body, key=f"{title.lower()}-{place}"))
    return "".join(parts)


def when(run: Run) -> str:
    """Returns what stands above the title: which run, and when it was started."""
    started = datetime.fromtimestamp(run.started or 0, UTC)
    return f"run {run.key} · started {started:%Y-%m-%d %H:%M} UTC"


def thinned(panels: Iterable[Panel]) -> str:
    """Says that long series are drawn in fewer points, if there are any."""
    longest = max((len(x.steps) for panel in panels for x in panel.lines), default=0)
    if longest <= POINTS:
        return ""
    return (
        f"Of {longest:,} steps each line shows the lowest and the highest value of "
        f"{POINTS // 2:,} stretches, so a spike stays visible."
    )


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _json(value: Any) -> str:
    """Returns JSON in which nothing can end a script element or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _static(name: str) -> str:
    file = resources.files("optaxctl.report") / "static" / name
    return file.read_text(encoding="utf-8")
