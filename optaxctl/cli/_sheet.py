"""A run on one screen, in words: how it stands, and what happened last."""

import math
import time
from collections.abc import Iterator, Sequence

from rich.text import Text

from optaxctl.cli import _screen
from optaxctl.host._format import duration, number
from optaxctl.host._recorded import Event, Run
from optaxctl.host._summary import TrainingSummary, rank

SHOWN = 5  # events

Rows = list[tuple[str, str]]


def title(run: Run) -> Text:
    """Returns what stands above the rows."""
    # A key begins with the name, unless that was no word.
    called = run.key if run.key.startswith(run.name) else f"{run.key} ({run.name})"
    made = run.environment
    parts = [f"step {run.step:,}", f"updated {ago(run.updated)}"]
    if "jax" in made:
        parts.append(f"jax {made['jax']} {made.get('device', '')}".rstrip())
    text = Text(f"run {_screen.clean(called)}   ", "bold")
    text.append(run.status.upper(), _screen.style(run.status))
    return text.append(_screen.clean("   ".join(["", *parts])))


def standing(run: Run, summary: TrainingSummary) -> Rows:
    """Returns metrics, rate, what the controllers wait for, steps and time."""
    rows = [("", run.reason)] if run.reason else []
    rows += [*_metrics(summary), *_rate(summary), *_gauges(summary)]
    return rows + [(name, summary.rows()[name]) for name in ("steps", "time")]


def happened(events: Sequence[Event], shown: int = SHOWN) -> Rows:
    """Returns the last events, one a row."""
    last = events[-shown:] if shown > 0 else []
    rows = []
    if len(events) > len(last):
        rows.append(("events", f"the last {len(last)} of {len(events):,}:"))
    for place, event in enumerate(last):
        first = place == 0 and len(events) == len(last)
        rows.append(("events" if first else "", told(event)))
    return rows


def told(event: Event) -> str:
    """Returns an event in one line."""
    change = ""
    if event.old is not None and event.new is not None:
        change = f"  {number(event.old)} → {number(event.new)}"
    said = " ".join(filter(None, (event.reason, event.outcome)))
    return f"{event.step:>9,}  {event.actor}  {event.kind}{change}  {said}".rstrip()


def ago(moment: float) -> str:
    """Returns how long ago it was."""
    return f"{duration(max(time.time() - moment, 0))} ago"


def _metrics(summary: TrainingSummary) -> Iterator[tuple[str, str]]:
    for name in sorted(summary.best, key=rank):
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
    for path, told_of in found.items():
        yield path, ", ".join(told_of)
