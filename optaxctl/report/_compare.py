"""Several runs side by side, and which of them did best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optaxctl.host._format import NOTHING, clean, count, duration, number
from optaxctl.host._summary import TrainingSummary, rank
from optaxctl.report._words import flat, listed

if TYPE_CHECKING:
    from optaxctl._core.types import Mode
    from optaxctl.host.runs import Run


@dataclass(frozen=True)
class Comparison:
    """What `octl.report.compare` found; `str` of it is a sentence.

    Attributes:
      runs: Of each run what it came to, in the order given.
      monitor: The metric that they are compared by; None if they have none in common.
      best: The place of the best among them, of equals the first; None without
        `monitor`.
      mode: "max" if higher is better, as any of the runs says.
    """

    runs: tuple[TrainingSummary, ...]
    monitor: str | None
    best: int | None
    mode: Mode = "min"

    @classmethod
    def of(cls, runs: Sequence[Run], monitor: str | None = None) -> Comparison:
        """Does what `octl.report.compare` does."""
        summaries = tuple(map(TrainingSummary.of, runs))
        common = [n for n in summaries[0].best if all(n in s.best for s in summaries)]
        if monitor is not None and monitor not in common:
            raise LookupError(
                f"`report.compare(monitor=...)` must be a metric of all runs, got "
                f"{monitor!r}. They have {', '.join(common) or 'none'} in common."
            )
        chosen = monitor or min(common, key=rank, default=None)
        if chosen is None:
            return cls(summaries, None, None)
        values = [run.best[chosen][0] for run in summaries]
        rises = any(run.modes.get(chosen) == "max" for run in summaries)
        best = max(values) if rises else min(values)
        return cls(summaries, chosen, values.index(best), "max" if rises else "min")

    @property
    def names(self) -> list[str]:
        """What the runs are called: their names, or their keys where these repeat."""
        times = Counter(run.name for run in self.runs)
        return [run.name if times[run.name] == 1 else run.key for run in self.runs]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Returns heading and rows: what was reached, when, and how it ended."""
        metrics = list(dict.fromkeys(name for run in self.runs for name in run.best))
        head = ["run", *(f"best {name}" for name in metrics), "steps", "refused"]
        head += ["rewinds", "time", "status", "reason"]
        rows = []
        for place, (run, name) in enumerate(zip(self.runs, self.names, strict=True)):
            best = [run.best.get(metric) for metric in metrics]
            rows.append(
                [
                    f"{name} (best)" if place == self.best else name,
                    *(
                        f"{number(b[0])} at step {b[1]:,}" if b else NOTHING
                        for b in best
                    ),
                    f"{run.steps:,}",
                    f"{run.refused:,}",
                    f"{run.rewinds:,}",
                    duration(run.seconds),
                    run.status,
                    run.reason,
                ]
            )
        return head, rows

    def as_json(self) -> dict[str, Any]:
        """Returns it as strict JSON has it: what is not finite is None."""
        best = None if self.best is None else self.runs[self.best].key
        runs = [run.as_json() for run in self.runs]
        mode = self.monitor and self.mode
        return {"monitor": self.monitor, "mode": mode, "best": best, "runs": runs}

    def __str__(self) -> str:
        if self.monitor is None or self.best is None:
            return f"{count(len(self.runs), 'run')} that have no metric in common."
        best = self.runs[self.best]
        value, step = best.best[self.monitor]
        others = [
            (run.best[self.monitor][0], name)
            for place, (run, name) in enumerate(zip(self.runs, self.names, strict=True))
            if place != self.best
        ]
        text = (
            f"Best is {self.names[self.best]}: {self.monitor} {number(value)} at step "
            f"{step:,}"
        )
        rest = ", ".join(f"{number(v)} of {name}" for v, name in others)
        text = f"{text}, against {rest}." if rest else f"{text}."
        low = [
            name
            for run, name in zip(self.runs, self.names, strict=True)
            if run.modes.get(self.monitor, "min") != self.mode
        ]
        if low:
            text += (
                f" Higher counts as better, though {listed(low)} kept the lowest: the "
                "runs were told differently."
            )
        return clean(text)


def compare(runs: Sequence[Run], *, monitor: str | None = None) -> Comparison:
    """Compares recorded runs, and says which of them did best.

    Args:
      runs: At least one, of any projects.
      monitor: The metric to compare by, in the direction that the history was told.
        By default a validation loss, or the first other metric that all of them have.
        Where the histories disagree, higher is better, and the sentence says so.

    Returns:
      The summaries of the runs, the metric, and the place of the best: `str` of it is
      a sentence, `.table()` is headings and rows, `.as_json()` is for programs.

    Raises:
      LookupError: If a run does not have the metric.
      ValueError: If there are no runs.

    Example:
      >>> import tempfile, optaxctl as octl
      >>> directory = tempfile.mkdtemp()
      >>> for name, loss in {"adam": 0.5, "sgd": 0.7}.items():
      ...     with octl.history.History(directory, name=name) as history:
      ...         history.evaluated(20, val_loss=loss)
      >>> print(octl.report.compare(octl.runs.Project(directory).runs()))
      Best is adam: val_loss 0.5 at step 20, against 0.7 of sgd.
    """
    if not runs:
        raise ValueError("`report.compare(runs=...)` must hold at least one run.")
    return Comparison.of(runs, monitor)


def different(runs: Sequence[Run]) -> list[list[str]]:
    """Returns the settings that are not the same in all runs: a path and the values."""
    trees = [flat(run.config) for run in runs]
    paths = dict.fromkeys(path for tree in trees for path in tree)
    rows = [[path, *(tree.get(path, NOTHING) for tree in trees)] for path in paths]
    return [row for row in rows if len(set(row[1:])) > 1]
