"""What a run came to so far, kept up to date so that nobody has to read its steps."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from optaxctl._core.types import Mode
from optaxctl.host._table import Table, prefixes

COUNTED = {"refused": "refused", "rewinds": "rewind", "clipped": "clipped"}
COUNTERS = ("steps", "accepted", *COUNTED)


class Totals:
    """The `summary` of a run.

    Args:
      modes: Whether lower ("min", the default) or higher values of a metric are better.
      summary: Of the run so far, to go on from.
    """

    def __init__(self, modes: Mapping[str, Mode], summary: Mapping[str, Any] = {}):
        self._modes = modes
        self.summary: dict[str, Any] = dict.fromkeys(COUNTERS, 0)
        self.summary |= {"best": {}, "last": {}, "lr": None, "epochs": [], "events": {}}
        timed = max(summary.get("steps", 0) - 1, 0)  # as older releases had it
        self.summary |= {"seconds": 0.0, "timed": timed, "seconds_per_step": None}
        self.summary |= summary
        self.summary["modes"] = dict(modes)  # for whoever compares runs
        self._last: float | None = None  # the time of the last step

    def anew(self) -> "Totals":
        """Returns the same before any step."""
        return Totals(self._modes)

    def add(self, table: Table) -> None:
        """Takes in steps."""
        s = self.summary
        s["steps"], s["accepted"] = (int(table[n][-1]) for n in ("step", "accepted"))
        for name, column in COUNTED.items():
            s[name] += sum(
                int(np.count_nonzero(table[prefix + column]))
                for prefix in prefixes(table.columns)
            )
        rates = table["learning_rate"]
        if (rates := rates[np.isfinite(rates)]).size:
            low, high = s["lr"] or (math.inf, -math.inf)
            s["lr"] = [
                min(low, float(str(rates.min()))),
                max(high, float(str(rates.max()))),
            ]
        losses = np.where(np.isfinite(table["loss"]), table["loss"], np.inf)
        at = int(losses.argmin())
        self._rank("loss", int(table["step"][at]), table.at(at, "loss"))
        end = table.part(len(table) - 1, len(table))
        s["last"] |= {name: end.at(0, name) for name in table.columns}
        began = float(table.times[0]) if self._last is None else self._last
        # Of the first steps, as a scan has stacked them, nobody knows when they began.
        first = np.count_nonzero(table.times == began) if self._last is None else 0
        self._last = float(table.times[-1])
        s["seconds"] += max(self._last - began, 0.0)
        s["timed"] += len(table) - int(first)
        s["seconds_per_step"] = s["seconds"] / s["timed"] if s["timed"] else None

    def evaluated(self, step: int, name: str, value: float) -> None:
        """Takes in an evaluation."""
        self._rank(name, step, value)
        self.summary["last"][name] = value

    def happened(self, severities: Iterable[str]) -> None:
        """Counts events."""
        for severity in severities:
            counts = self.summary["events"]
            counts[severity] = counts.get(severity, 0) + 1

    def epoch(self, number: int, seconds: float) -> None:
        """Notes how long an epoch took; one that is done again, and later ones, go."""
        before = [pair for pair in self.summary["epochs"] if pair[0] < number]
        self.summary["epochs"] = [*before, [number, seconds]]

    def paused(self) -> None:
        """Notes that the time until the next step does not count."""
        self._last = None

    def _rank(self, name: str, step: int, value: float) -> None:
        sign = -1 if self._modes.get(name) == "max" else 1
        best = self.summary["best"].get(name)
        better = best is None or sign * value < sign * best[0]
        if math.isfinite(value) and better:
            self.summary["best"][name] = [value, step]
