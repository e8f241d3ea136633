"""The course of a schedule, drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from optaxctl.host import _extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID = "#1f4e79", "0.9"
OTHERS = ("#c2410c", "#15803d", "#8b3fb0", "#806500", "#0e7490")
Schedule = Callable[[Any], Any]
POINTS = 1001


def schedule(schedule: Schedule | Mapping[str, Schedule], steps: int) -> Figure:
    """Draws a schedule, or several to compare, over the first steps.

    It is drawn at every step from 0 to `steps`, or at 1,001 of them if there are more.

    Args:
      schedule: A function of an int32 array of steps, such as any of
        `octl.schedules` or of Optax. Or several such, by name.
      steps: The last step to draw, >= 1.

    Returns:
      A matplotlib figure that belongs to no window: `.savefig("schedule.svg")`, or
      leave it as the last line of a notebook cell.

    Raises:
      ModuleNotFoundError: If matplotlib is not installed.
      ValueError: If `steps` is not a whole number >= 1, or there is no schedule.

    Example:
      >>> import optaxctl as octl
      >>> figure = octl.report.schedule(octl.schedules.cosine(80), 100)
      >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
      ('step', 'value')
      >>> course = octl.schedules.cosine(80)
      >>> both = {"plain": course, "warmed up": octl.schedules.warmup(course, 10)}
      >>> figure = octl.report.schedule(both, 100)
      >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
      ['plain', 'warmed up']
    """
    # Here, since jax is no business of reports that only read files.
    from optaxctl._core import checks

    checks.count("report.schedule", steps=steps)
    who = "`octl.report.schedule`"
    plot = _extras.load("matplotlib.figure", extra="plot", who=who)

    at = np.linspace(0, steps, min(steps + 1, POINTS)).round().astype(np.int32)
    named = schedule if isinstance(schedule, Mapping) else {"": schedule}
    checks.require(bool(named), "report.schedule", "schedule", schedule, "not empty")
    figure = plot.Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=(INK, *OTHERS))
    for name, each in named.items():
        # Optax's constant schedule is a number, whatever it is asked.
        values = np.broadcast_to(np.asarray(each(at)), at.shape)
        axes.plot(at, values, label=name, linewidth=1.8, clip_on=False)
    if isinstance(schedule, Mapping):
        axes.legend(fontsize=8, framealpha=0.9, edgecolor="none")
    axes.set(xlabel="step", ylabel="value")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8, clip_on=False)
    axes.tick_params(left=False, bottom=False)
    axes.margins(x=0)
    return figure
