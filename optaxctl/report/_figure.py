"""The charts of a report on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optaxctl.host import _extras
from optaxctl.host._summary import TrainingSummary
from optaxctl.report import _events
from optaxctl.report._compare import Comparison
from optaxctl.report._panels import Line, panels
from optaxctl.report._thin import thin
from optaxctl.report._words import verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from optaxctl.host.runs import Run

COLOURS = ("#1f5fa8", "#c2410c", "#15803d", "#8b3fb0", "#806500", "#0e7490")
SEVERITY = {"info": "#4b5a69", "warning": "#8f5200"}
GRAVE, GRID = "#b3261e", "0.92"


def plot(run: Run, *others: Run) -> Figure:
    """Draws the charts of a report: one under the other, over the steps.

    They are those of `octl.report.html` but for the gauges, from the same numbers, with
    the same numbered markers. Several runs lie over each other, each in one colour, and
    without markers.

    Args:
      run: As far as it is recorded.
      *others: Runs to lay over it.

    Returns:
      A matplotlib figure that belongs to no window: `.savefig("run.png")`, or leave it
      as the last line of a notebook cell. Its `.axes` are the charts.

    Raises:
      ModuleNotFoundError: If matplotlib is not installed.

    Example:
      >>> import tempfile, optaxctl as octl
      >>> with octl.history.History(tempfile.mkdtemp(), name="digits") as history:
      ...     for step, loss in ((20, 0.5), (40, 0.3)):
      ...         history.evaluated(step, val_loss=loss)
      >>> run = octl.runs.Project(history.directory).run("@latest")
      >>> octl.report.plot(run).axes[0].get_title(loc="left")
      'Loss'
    """
    library = _extras.load("matplotlib.figure", extra="plot", who="`octl.report.plot`")
    runs = [run, *others]
    shown = [panel for panel in panels(runs)[0] if not panel.aside]
    height = 1 + 1.9 * max(len(shown), 1)
    figure = library.Figure(figsize=(8, height), layout="constrained")
    names = Comparison.of(runs).names if others else []
    title = str(Comparison.of(runs)) if others else verdict(TrainingSummary.of(run))
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", wrap=True)
    if not shown:
        return figure
    marks = [] if others else _events.markers(_events.numbered(run)[0])
    for axes, panel in zip(
        figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0],
        shown,
        strict=True,
    ):
        for line in panel.lines:
            name = panel.label(line, names)
            colour = COLOURS[panel.colour(line, names) % len(COLOURS)]
            _draw(axes, line, name, colour, faint=panel.faint(line))
        high = 12 if marks and panel is shown[0] else 4  # numbers stand below it
        axes.set_title(panel.title, loc="left", fontsize=10, pad=high)
        axes.set_yscale("log" if panel.log else "linear")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GRID, linewidth=0.8)
        if len(panel.lines) > 1:
            axes.legend(
                fontsize=8, framealpha=0.85, edgecolor="none", loc="upper right"
            )
        own = [mark for mark in marks if mark["only"] in (None, panel.key)]
        _mark(axes, own, run.step, top=panel is shown[0])
    figure.axes[-1].set_xlabel("step")
    return figure


def _draw(axes: Axes, line: Line, name: str, colour: str, *, faint: bool) -> None:
    width = 1.6 if len(line.steps) < 500 else 1.0
    style: dict[str, Any] = {"color": colour, "label": name, "linewidth": width}
    if faint:
        style |= {"linewidth": 0.7, "alpha": 0.55}
    if line.kind == "bound":
        style |= {"linestyle": "--", "drawstyle": "steps-post", "linewidth": 1.2}
    if line.kind == "mean":
        style |= {"linestyle": (0, (4, 1.5))}
    if line.kind == "hit":
        style |= {"linestyle": "", "marker": ".", "markersize": 4}
    if line.kind == "check" and len(line.steps) < 80:
        style |= {"marker": "o", "markersize": 3}
    steps, values = thin(line.steps, line.values)
    values = np.where(np.isfinite(values), values, np.nan)
    axes.plot(steps, values, **style)


def _mark(axes: Axes, marks: list[dict[str, Any]], steps: int, *, top: bool) -> None:
    """Draws what happened as lines, in the chart on top with their numbers."""
    free = 0.0
    for mark in marks:
        colour = SEVERITY.get(mark["severity"], GRAVE)
        axes.axvline(mark["step"], color=colour, linewidth=0.8, linestyle=":")
        if top and mark["step"] >= free:
            free = mark["step"] + 0.02 * steps
            axes.annotate(
                mark["label"],
                (mark["step"], 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=colour,
            )
