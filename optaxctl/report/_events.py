"""What the controllers did, as a table, and as markers in the charts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from optaxctl.host._format import count, number
from optaxctl.host._recorded import LEVELS
from optaxctl.host._summary import rank
from optaxctl.report._words import flat

if TYPE_CHECKING:
    from optaxctl.host.runs import Event, Run

Checks = Mapping[str, tuple[Sequence[int], Sequence[float]]]

LISTED, MARKED = 500, 200
HEAD = ("#", "step", "who", "what", "old → new", "why", "evidence", "what came of it")
TOLD = {"event", "step", "old_lr", "new_lr", "reason", "steps", "until"}
"""What an event's evidence repeats of its other columns."""


class Numbered(NamedTuple):
    """An event and the number that stands for it in the charts."""

    label: str
    event: Event


def numbered(run: Run, letter: str = "") -> tuple[list[Numbered], int]:
    """Returns the events that are listed, in order, and how many there are in all.

    Of very many the most severe are listed, and of those the first.
    """
    events = run.events()
    kept = _gravest(events, LISTED)
    return [Numbered(f"{letter}{n}", e) for n, e in enumerate(kept, 1)], len(events)


def markers(events: Sequence[Numbered]) -> list[dict[str, Any]]:
    """Returns what the script needs to mark the gravest of them."""
    marked = {id(event) for event in _gravest([e.event for e in events], MARKED)}
    return [
        {
            "label": label,
            "step": event.step,
            "severity": event.severity,
            "only": "grad_norm" if event.kind == "clipped" else None,
            "says": f"{event.actor}: {_kind(event)}. {event.reason}",
        }
        for label, event in events
        if id(event) in marked
    ]


def table(run: Run, events: Sequence[Numbered], total: int) -> str:
    """Returns the table of events, or that there were none.

    What came of an event is what the history says, or else how the next evaluation
    compares with the last.
    """
    if not events:
        return "<p>Nothing: no controller had a reason to act.</p>"
    note = ""
    if total > len(events):
        note = (
            f'<p class="note">There were {total:,} events; the {len(events):,} gravest '
            f"are listed, and {min(MARKED, len(events)):,} marked.</p>"
        )
    # Clipping is routine, and would bury the rest.
    rest = [each for each in events if each.event.kind != "clipped"]
    clips = [each for each in events if each.event.kind == "clipped"]
    checks = run.evaluations()
    text = note + (
        _rows(rest, checks) if rest else "<p>Nothing but to clip gradients.</p>"
    )
    if clips:
        often = f"Gradients were clipped ({count(len(clips), 'episode')})"
        text += f"<details><summary>{often}</summary>{_rows(clips, {})}</details>"
    return text


def _rows(events: Sequence[Numbered], checks: Checks) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in HEAD)
    rows = "".join(_row(label, event, checks) for label, event in events)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Events">'
        f'<table class="data"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(label: str, event: Event, checks: Checks) -> str:
    known = {n: v for n, v in flat(event.evidence).items() if n not in TOLD}
    if known.get("change_pct") == "nan":  # it came from zero
        del known["change_pct"]
    evidence = ", ".join(f"{n.rpartition('.')[2]} {v}" for n, v in known.items())
    link = (
        f'<a href="#charts" data-step="{event.step}" '
        f'title="Show in the charts">{event.step:,}</a>'
    )
    severity = escape(event.severity or "info")
    return (
        f'<tr id="event-{label}"><th scope="row">{label}</th>'
        f'<td class="step">{link}</td>'
        f"<td>{escape(event.actor)}</td><td>{escape(_kind(event))} "
        f'<span class="severity" data-severity="{severity}">{severity}</span></td>'
        f'<td class="change">{_change(event)}</td>'
        f'<td class="long">{escape(event.reason or "")}</td>'
        f'<td class="long">{escape(evidence)}</td>'
        f"<td>{escape(event.outcome or _after(event, checks))}</td></tr>"
    )


def _after(event: Event, checks: Checks) -> str:
    """Returns a validation loss, or other metric, before and after an event."""
    for name in sorted(checks, key=rank):
        steps, values = checks[name]
        at = bisect_left(steps, event.step)
        if 0 < at < len(steps):
            return (
                f"{name} was {number(values[at - 1])}, and {number(values[at])} at the "
                f"next check, step {steps[at]:,}."
            )
    return ""


def _kind(event: Event) -> str:
    name = "learning rate" if event.kind == "lr_scale" else event.kind
    return name.replace("/", ": ").replace("_", " ")


def _change(event: Event) -> str:
    # Without a value before, what is new are the bits of a flag.
    if event.old is None or event.new is None:
        return ""
    return f"{number(event.old)} → {number(event.new)}"


def _gravest(events: Sequence[Event], most: int) -> list[Event]:
    if len(events) <= most:
        return list(events)
    rank = {level: n for n, level in enumerate(LEVELS)}
    gravest = sorted(events, key=lambda e: -rank.get(e.severity, 0))[:most]
    return sorted(gravest, key=lambda e: (e.step, e.id))
