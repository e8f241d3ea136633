"""The curve of a learning-rate range test, drawn."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from optaxctl.host import _extras

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, MARK, USABLE, DIVERGED = "#1f4e79", "#a9c4de", "#c2410c", "#dff0dc", "0.9"
OTHERS = {"valley": "s", "steep": "v", "slide": "D", "gradient": "^"}


class Found(Protocol):
    """What is drawn: `octl.RangeTest`, which this layer knows by its attributes.

    Arrays are of shape (steps,) or, of several runs, (runs, steps); the suggestions
    that are marked by name have no axis of steps.
    """

    @property
    def learning_rates(self) -> Any:
        """The rates tried."""

    @property
    def losses(self) -> Any:
        """The loss at each rate; NaN after the end."""

    @property
    def smoothed(self) -> Any:
        """The running mean of the losses; NaN after the end."""

    @property
    def valid(self) -> Any:
        """Whether there is a finite loss."""

    @property
    def valley(self) -> Any:
        """Another formula's suggestion, as the next three."""

    @property
    def steep(self) -> Any: ...
    @property
    def slide(self) -> Any: ...
    @property
    def gradient(self) -> Any: ...

    @property
    def suggestion(self) -> float:
        """The rate to start with; NaN, as the next two, if there is none."""
        ...

    @property
    def floor(self) -> float:
        """The lower end of the usable rates."""
        ...

    @property
    def ceil(self) -> float:
        """Their upper end."""
        ...

    def summary(self) -> str:
        """Returns the title."""
        ...


def lr_find(found: Found) -> Figure:
    """Draws the loss over the learning rate, with what `octl.lr_find` suggests.

    The smoothed loss is a line, with the single losses behind it, or one thin line for
    each run. The rates from `found.floor` to `found.ceil` are shaded green, those
    where a run had diverged grey. A loss far above the others is cut off.

    Args:
      found: What `octl.lr_find` returned, of one run or of vmapped ones.

    Returns:
      A matplotlib figure that belongs to no window: `.savefig("found.png")`, or leave
      it as the last line of a notebook cell.

    Raises:
      ModuleNotFoundError: If matplotlib is not installed.

    Example:
      >>> import jax, jax.numpy as jnp, optaxctl as octl
      >>> x = jax.random.normal(jax.random.key(0), (100, 32, 4))
      >>> loss = lambda w, x: jnp.mean((x @ (w - 1)) ** 2)
      >>> found = octl.lr_find(loss, jnp.zeros(4), x)
      >>> figure = octl.report.lr_find(found)
      >>> figure.axes[0].get_xlabel()
      'learning rate'
    """
    who = "`octl.report.lr_find`"
    plot = _extras.load("matplotlib.figure", extra="plot", who=who)
    figure = plot.Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_title(textwrap.fill(found.summary(), 90), fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)

    steps = np.shape(found.learning_rates)[-1]
    rates, losses, smoothed, valid = (
        np.reshape(x, (-1, steps))
        for x in (found.learning_rates, found.losses, found.smoothed, found.valid)
    )
    _regions(axes, found, rates, valid)
    if len(rates) == 1:
        axes.plot(rates[0], losses[0], color=PALE, linewidth=1, label="loss")
        axes.plot(rates[0], smoothed[0], color=INK, linewidth=2, label="smoothed")
    else:
        lines = axes.plot(rates.T, smoothed.T, color=INK, linewidth=0.7, alpha=0.6)
        lines[0].set_label(f"smoothed, {len(rates)} runs")
    _marks(axes, found, rates, smoothed)
    axes.set_xlim(rates.min(), rates.max())
    if valid.any():
        axes.set_ylim(*_limits(losses if len(rates) == 1 else smoothed, smoothed))
    axes.legend(fontsize=8, framealpha=0.9, edgecolor="none")
    return figure


def _regions(axes: Axes, found: Found, rates: Any, valid: Any) -> None:
    """Shades what is usable, and what lies beyond the first run to end."""
    if np.isfinite(found.floor):
        axes.axvspan(found.floor, found.ceil, color=USABLE, label="usable")
    last = np.max(np.where(valid, rates, rates.min()), axis=1)
    if (ended := ~valid[:, -1]).any():
        axes.axvspan(
            last[ended].min(), rates.max(), color=DIVERGED, label="diverged", zorder=0
        )


def _marks(axes: Axes, found: Found, rates: Any, smoothed: Any) -> None:
    """Marks the suggestion, and of a single run the other formulas' ones.

    Without a clear minimum they would point at noise.
    """
    if not np.isfinite(found.suggestion):
        return
    if len(rates) == 1:
        for name, shape in OTHERS.items():
            rate = float(np.reshape(getattr(found, name), ()))
            height = np.interp(rate, rates[0], smoothed[0])
            style = {"color": "white", "markeredgecolor": INK, "markersize": 6}
            axes.plot(rate, height, shape, label=f"{name} {rate:.1e}", **style)
    label = f"start with {found.suggestion:.1e}"
    axes.axvline(found.suggestion, color=MARK, linewidth=1.5, label=label)


def _limits(drawn: Any, smoothed: Any) -> tuple[float, float]:
    """Returns limits that show the fall and the beginning of the rise."""
    high = np.nanquantile(smoothed, 0.85)
    low = np.nanmin(drawn[smoothed <= high])
    height = (high - low) or 0.2
    return low - 0.1 * height, high + 0.4 * height
