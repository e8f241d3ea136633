"""What a run came to: totals, best values, interventions and times."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from optaxctl.host._format import clean, count, duration, number

if TYPE_CHECKING:
    from optaxctl.host.runs import Run


@dataclass(frozen=True)
class TrainingSummary:
    """What a recorded run came to; `str` of it is text, `as_json` is for programs.

    It reads what the history keeps up to date with every flush, and the events, so it
    takes as long for a million steps as for ten.

    Attributes:
      key: Of the run in its project.
      name: What the user called the run.
      status: `running`, `stopped` by a controller, `finished`, `failed`,
        `interrupted`, or `lost` if its process ended without a word.
      reason: Why it ended, in a sentence; empty if it has not.
      steps: Steps in all, refused ones included.
      accepted: Steps whose update was taken.
      refused: Steps whose update was not.
      clipped: Accepted steps whose gradient was clipped.
      rewinds: Times the run went back to an earlier state.
      best: The best value of each metric and its step.
      modes: "max" for the metrics of which more is better.
      last: The last value of each recorded column.
      learning_rate: The lowest and the highest in force; None if it was not seen.
      events: How many there were, by severity.
      interventions: How many there were, by kind.
      seconds: From the first recorded step to the last, without pauses.
      seconds_per_step: Their mean over the recorded steps; NaN if none was timed.
      epochs: The number and the seconds of each epoch.

    Example:
      >>> import tempfile, optaxctl as octl
      >>> directory = tempfile.mkdtemp()
      >>> with octl.history.History(directory, name="digits") as history:
      ...     history.evaluated(20, val_loss=0.5)
      >>> run = octl.runs.Project(directory).run("@latest")
      >>> octl.TrainingSummary.of(run).best
      {'val_loss': (0.5, 20)}
    """

    key: str
    name: str
    status: str
    reason: str
    steps: int
    accepted: int = 0
    refused: int = 0
    clipped: int = 0
    rewinds: int = 0
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    learning_rate: tuple[float, float] | None = None
    events: dict[str, int] = field(default_factory=dict)
    interventions: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    seconds_per_step: float = math.nan
    epochs: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, run: Run) -> TrainingSummary:
        """Returns the summary of a run as far as it is recorded."""
        known: dict[str, Any] = {
            name: run.summary[name]
            for name in cls.__dataclass_fields__
            if run.summary.get(name) is not None
        }
        steps = known.pop("steps", None) or run.step or 0
        if low_high := run.summary.get("lr"):
            known["learning_rate"] = tuple(low_high)
        known["best"] = {
            name: (value, step) for name, (value, step) in known.get("best", {}).items()
        }
        known["epochs"] = tuple((n, seconds) for n, seconds in known.get("epochs", ()))
        known["interventions"] = dict(Counter(event.kind for event in run.events()))
        known |= {"key": run.key, "name": run.name or run.key}
        known |= {"status": run.status, "reason": run.reason or ""}
        return cls(steps=steps, **known)

    @property
    def seconds_per_epoch(self) -> float | None:
        """The median over the epochs; None if none was timed."""
        return statistics.median(s for _, s in self.epochs) if self.epochs else None

    def as_json(self) -> dict[str, Any]:
        """Returns it as strict JSON has it: what is not finite is None."""
        return _finite(asdict(self) | {"seconds_per_epoch": self.seconds_per_epoch})

    def rows(self) -> dict[str, str]:
        """Returns what there is to tell by headings, for a table."""
        rows = {"reason": self.reason} if self.reason else {}
        rows["steps"] = self._steps()
        for name, (value, step) in self.best.items():
            rows[f"best {name}"] = f"{number(value)} at step {step:,}"
        if self.learning_rate:
            low, high = map(number, self.learning_rate)
            rows["learning rate"] = low if low == high else f"{low} to {high}"
        if self.interventions:
            told = (f"{kind} {n:,}" for kind, n in self.interventions.items())
            rows["events"] = ", ".join(told)
        rows["time"] = self._time()
        return rows

    def __str__(self) -> str:
        called = self.name if self.name == self.key else f"{self.name} ({self.key})"
        rows = self.rows()
        width = max(map(len, rows)) + 2
        head = f"{called}: {self.status} at step {self.steps:,}"
        lines = [head, *(f"{n:<{width}}{text}" for n, text in rows.items())]
        return "\n".join(map(clean, lines))

    def _steps(self) -> str:
        parts = [f"{self.accepted:,} accepted", f"{self.refused:,} refused"]
        if self.clipped:
            share = 100 * self.clipped / max(self.accepted, 1)
            parts.append(f"{self.clipped:,} clipped ({share:.2g} %)")
        if self.rewinds:
            parts.append(count(self.rewinds, "rewind"))
        return f"{self.steps:,}: {', '.join(parts)}"

    def _time(self) -> str:
        parts = [duration(self.seconds)]
        if math.isfinite(self.seconds_per_step):
            parts.append(f"{duration(self.seconds_per_step)} a step")
        if self.seconds_per_epoch is not None:
            median = f"{duration(self.seconds_per_epoch)} an epoch"
            parts.append(f"{median} (median of {len(self.epochs):,})")
        return ", ".join(parts)


def rank(name: str) -> tuple[bool, bool]:
    """Sorts validation before training, and losses before other metrics."""
    return not name.startswith("val"), "loss" not in name


def merit(summary: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sorts runs by what they show first of their best values; the best run first.

    Those that are measured by a lesser metric, and those by none, come behind.

    Args:
      summary: As it was recorded, of a `Run`.
    """
    best = summary.get("best") or {}
    if not best:
        return (True,)
    name = min(best, key=rank)
    sign = -1 if summary.get("modes", {}).get(name) == "max" else 1
    return False, *rank(name), name, sign * best[name][0]


def _finite(value: Any) -> Any:
    """Replaces NaN and infinity, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
