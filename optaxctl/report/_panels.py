"""Which charts there are, and the lines in each: the same on the page and on paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from optaxctl.report._columns import columns
from optaxctl.report._gap import training_between

if TYPE_CHECKING:
    from optaxctl.host.runs import Run

CHECKED = re.compile(r"^(val|valid|validation|eval|test|dev)[_/]")
PREFIX = re.compile(rf"^(train|training)[_/]|{CHECKED.pattern}")
COUNTED = re.compile(
    r"^(group/\d+/)?(step|accepted|refused|rewind|clipped|stop|alarms)$"
)
"""Columns that are events or counts; the tables have them."""
TITLES = {
    "loss": "Loss",
    "learning_rate": "Learning rate",
    "lr_scale": "Scale of the learning rate",
    "grad_norm": "Gradient norm",
    "gap": "Validation loss minus training loss",
}
MEAN = ", mean between checks"
ALWAYS = ("loss", "learning_rate", "grad_norm")
LOG = ("loss", "grad_norm")


@dataclass(frozen=True)
class Line:
    """One series of one run.

    Attributes:
      name: Of the column or the evaluation.
      run: The place of the run among those on the page.
      steps: Ascending.
      values: As many; not finite where the line breaks.
      kind: `step` for what every step has, `check` for what is measured now and then,
        `mean` for a mean over the steps between checks, `bound` for a threshold, and
        `hit` for one that is only known where it was passed.
      broken: At how many steps the value was not finite.
    """

    name: str
    run: int
    steps: np.ndarray
    values: np.ndarray
    kind: str
    broken: int = 0

    @property
    def finite(self) -> np.ndarray:
        """The values there are."""
        return self.values[np.isfinite(self.values)]


@dataclass(frozen=True)
class Panel:
    """One chart: lines that share a scale.

    Attributes:
      key: What it shows, in the words of the columns.
      lines: In drawing order; at least one, and none without a finite value.
      aside: Whether it is a detail, such as a gauge of a controller.
    """

    key: str
    lines: list[Line] = field(default_factory=list)
    aside: bool = False

    @property
    def title(self) -> str:
        """The heading."""
        return TITLES.get(self.key, self.key.removeprefix("gauge/"))

    @property
    def log(self) -> bool:
        """Whether the scale is logarithmic, which takes positive values."""
        return self.key in LOG and all(line.finite.min() > 0 for line in self.lines)

    @property
    def constant(self) -> bool:
        """Whether every line stays where it begins."""
        return all(np.ptp(line.finite) == 0 for line in self.lines)

    def faint(self, line: Line) -> bool:
        """Whether a line is noise behind what is measured less often, or a bound."""
        return line.kind == "step" and any(n.kind != "step" for n in self.lines)

    def colour(self, line: Line, runs: Sequence[str]) -> int:
        """Returns the number of a colour: one for each run, or for each name of one."""
        names = [n.name.removesuffix(MEAN) for n in self.lines]
        own = line.name.removesuffix(MEAN)
        return line.run if runs else list(dict.fromkeys(names)).index(own)

    def label(self, line: Line, runs: Sequence[str]) -> str:
        """Returns what a line is called; `runs` are names, if there are several."""
        if not runs:
            return self.title if line.name == self.key == "gap" else line.name
        alone = len({n.name for n in self.lines}) == 1
        return runs[line.run] if alone else f"{runs[line.run]}: {line.name}"


def panels(runs: Sequence[Run]) -> tuple[list[Panel], list[Panel]]:
    """Returns the charts of the runs, laid over each other.

    A name with a prefix such as `val_` is drawn with the name without it, and the clip
    threshold with the gradient norm.

    Returns:
      What there is to draw in order, and what does not change in any run, which needs
      no chart.
    """
    found = {key: Panel(key) for key in ("loss", "gap", "learning_rate", "grad_norm")}
    for place, run in enumerate(runs):
        checks = {
            name: (np.array(steps, np.int64), np.array(values, np.float64))
            for name, (steps, values) in run.evaluations().items()
        }
        lines = [
            line
            for name, series in {**columns(run), **checks}.items()
            for line in _line(name, place, *series, checked=name in checks)
        ]
        for line in sorted(lines, key=lambda line: line.kind == "check"):
            key = "grad_norm" if line.name == "clip_norm" else PREFIX.sub("", line.name)
            aside = "gauge/" in key or key == "lr_scale"
            found.setdefault(key, Panel(key, aside=aside)).lines.append(line)
        _put_together(found["loss"], found["gap"], place)
    all_of_them = [panel for panel in found.values() if panel.lines]
    moving = [p for p in all_of_them if p.key in ALWAYS or not p.constant]
    still = [p for p in all_of_them if p not in moving]
    return sorted(moving, key=lambda panel: panel.aside), still


def _line(
    name: str, place: int, x: np.ndarray, y: np.ndarray, *, checked: bool
) -> Iterable[Line]:
    finite = np.isfinite(y)
    if COUNTED.match(name) or not finite.any():
        return
    if name.endswith("clip_norm") and finite.mean() < 0.5:
        yield Line(name, place, x[finite], y[finite], "hit")
    elif name.endswith("clip_norm"):  # infinite where there is none
        yield Line(name, place, x, y, "bound")
    elif checked:
        yield Line(name, place, x[finite], y[finite], "check")
    elif CHECKED.match(name) or finite.mean() < 0.5:
        # An observed signal keeps its value until the next one.
        new = finite & np.append(True, y[1:] != y[:-1])
        yield Line(name, place, x[new], y[new], "check")
    else:
        yield Line(name, place, x, y, "step", int((~finite).sum()))


def _put_together(losses: Panel, gap: Panel, place: int) -> None:
    """Adds the mean training loss of each evaluation, and how far apart they are."""
    train, val = pair(losses.lines, place)
    if train is None or val is None:
        return
    mean = training_between(train.steps, train.values, val.steps)
    if (known := np.isfinite(mean)).any():
        at, mean = val.steps[known], mean[known]
        losses.lines.append(Line(train.name + MEAN, place, at, mean, "mean"))
        gap.lines.append(Line("gap", place, at, val.values[known] - mean, "check"))


def pair(lines: Iterable[Line], place: int) -> tuple[Line | None, Line | None]:
    """Returns the training and the validation loss of a run, if it has them."""
    own = [line for line in lines if line.run == place]
    train = [n for n in own if n.name in ("loss", "train_loss", "train/loss")]
    val = [n for n in own if n.name.startswith(("val", "eval", "dev"))]
    return next(iter(train), None), next(iter(val), None)
