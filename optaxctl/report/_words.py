"""What a report says in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optaxctl.host._format import count, number
from optaxctl.report._gap import Verdict, overfitting
from optaxctl.report._panels import Line, Panel, pair

if TYPE_CHECKING:
    from optaxctl.host._summary import TrainingSummary

LOST = "its process ended without a word"


def verdict(summary: TrainingSummary) -> str:
    """Returns how the run ended and what came of it, in a sentence or two."""
    step = f"{summary.steps:,}"
    head = f"{summary.status.capitalize()} at step {step}"
    reason = summary.reason or (LOST if summary.status == "lost" else "")
    # The loop's own sentences end with the step, which stands at the beginning here.
    for end in (f"; stopping at step {step}.", f", at step {step}."):
        reason = reason.removesuffix(end)
    parts = [f"{head}: {reason.rstrip('.')}." if reason else f"{head}."]
    if done := interventions(summary):
        parts.append(f"On the way it {listed(done)}.")
    return " ".join(parts)


def interventions(summary: TrainingSummary) -> list[str]:
    """Returns what was done to the steps, as clauses with a verb in the past."""
    done = []
    if summary.refused:
        done.append(f"refused {count(summary.refused, 'step')}")
    if summary.clipped:
        share = 100 * summary.clipped / max(summary.accepted, 1)
        done.append(f"clipped {count(summary.clipped, 'gradient')} ({share:.2g} %)")
    if summary.rewinds:
        done.append(f"went back {count(summary.rewinds, 'time')}")
    return done


def listed(parts: list[str]) -> str:
    """Returns `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def line(series: Line, called: str) -> str:
    """Returns the course of a line in words, for those who do not see it."""
    at = series.steps[finite] if (finite := _finite(series)).any() else series.steps
    y = series.finite
    low, high = int(y.argmin()), int(y.argmax())
    text = (
        f"{called} goes from {number(y[0])} at step {at[0]:,} to {number(y[-1])} at "
        f"step {at[-1]:,}; lowest {number(y[low])} at step {at[low]:,}, highest "
        f"{number(y[high])} at step {at[high]:,}."
    )
    if series.broken:
        text += f" It is not finite at {count(series.broken, 'step')}."
    return text


def _finite(series: Line) -> Any:
    return abs(series.values) < float("inf")


def still(panels: list[Panel]) -> list[str]:
    """Returns `name value` for what never changes."""
    names: dict[str, set[str]] = {}
    for panel in panels:
        for each in panel.lines:
            names.setdefault(each.name, set()).add(number(each.finite[0]))
    return [f"{name} {' or '.join(sorted(v))}" for name, v in sorted(names.items())]


def fit(panels: list[Panel], place: int) -> Verdict:
    """Says whether a run overfits."""
    lines = [each for panel in panels if panel.key == "loss" for each in panel.lines]
    train, val = pair(lines, place)
    if train is None or val is None:
        return Verdict("unknown", "There is no validation loss beside a training loss.")
    return overfitting(train.steps, train.values, val.steps, val.values)


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Returns nested settings by the path of each, as `lr.factor`."""
    rows: dict[str, str] = {}
    for name, value in tree.items():
        path = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping) and value:
            rows |= flat(value, path)
        elif isinstance(value, float):
            rows[path] = number(value)
        else:
            rows[path] = value if isinstance(value, str) else repr(value)
    return rows
