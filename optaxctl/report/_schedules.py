"""The course of a schedule, drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from optaxctl.host import _extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GRID = "#1f4e79", "0.9"
POINTS = 1001


def schedule(schedule: Callable[[Any], Any], steps: int) -> Figure:
    """Draws a schedule over its first steps.

    It is drawn at every step from 0 to `steps`, or at 1,001 of them if there are more.

    Args:
      schedule: A function of an int32 array of steps, such as any of
        `octl.schedules` or of Optax.
      steps: The last step to draw, >= 1.

    Returns:
      A matplotlib figure that belongs to no window: `.savefig("schedule.svg")`, or
      leave it as the last line of a notebook cell.

    Raises:
      ModuleNotFoundError: If matplotlib is not installed.
      ValueError: If `steps` is not a whole number >= 1.

    Example:
      >>> import optaxctl as octl
      >>> figure = octl.report.schedule(octl.schedules.cosine(80), 100)
      >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
      ('step', 'value')
    """
    # Here, since jax is no business of reports that only read files.
    from optaxctl._core import checks

    checks.count("report.schedule", steps=steps)
    who = "`octl.report.schedule`"
    plot = _extras.load("matplotlib.figure", extra="plot", who=who)

    at = np.linspace(0, steps, min(steps + 1, POINTS)).round().astype(np.int32)
    # Optax's constant schedule is a number, whatever it is asked.
    values = np.broadcast_to(np.asarray(schedule(at)), at.shape)
    figure = plot.Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(at, values, color=INK, linewidth=1.8, clip_on=False)
    axes.set(xlabel="step", ylabel="value")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8, clip_on=False)
    axes.tick_params(left=False, bottom=False)
    axes.margins(x=0)
    return figure
