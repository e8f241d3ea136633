"""Notice a loss that will not come back."""

from typing import Any, Literal

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, together
from optaxctl._core.decisions import Decision
from optaxctl._core.factory import factory
from optaxctl._core.flags import ABOUT_CONTROL, Alarm
from optaxctl._core.persistence import lasting
from optaxctl.watch._excess import excess
from optaxctl.watch._nonfinite import nonfinite
from optaxctl.watch._spike import spike


@factory
def divergence(
    threshold: float = 4.0,
    *,
    updates: int = 5,
    factor: float = 10.0,
    monitor: str = "loss",
    scale: Literal["log", "linear"] = "log",
    decay: float = 0.99,
) -> Controller:
    """Raises an alarm when `monitor` has left its usual values for good.

    The alarm is up while any of these holds:

        x is NaN or infinite
        x > factor * x_0, with x_0 the first finite value
        z > threshold in the last `updates` updates, this one included

    with the z-score of `watch.spike`, which is awake from the second update on. One
    spike is none of these, so any of them is evidence enough to go back or to lower the
    rate: of recorded losses it speaks up in none of 41 healthy runs, 68,000 steps of
    DeepOBS and GPT, and in 41 of 42 runs before or at their first NaN, as
    `python -m tests.bench.alarms` prints.

    On a linear scale, for signals of both signs, the second test is left out, since
    such a signal has no factors. On a log scale a value that is not positive raises
    `OUT_OF_DOMAIN` beside whatever else holds.

    Args:
      threshold: The z-score above which an update counts, > 0.
      updates: Updates in a row that it takes, >= 1.
      factor: How many times the first value is too much, > 1.
      monitor: The signal to read.
      scale: "log" for positive signals such as losses and norms, "linear" for signed.
      decay: Weight of the past in the running moments, > 0 and < 1.

    Returns:
      A controller that moves only `alarm`: `DIVERGENCE`. Gauges: `z`, and
      `consecutive`, the updates in a row with a z above `threshold`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> watcher = octl.watch.divergence()
      >>> state = watcher.init()
      >>> for loss in (2.0, 1.9, 1.8, 60.0):
      ...     decision, state = watcher.update({"loss": loss}, state)
      >>> octl.Alarm(int(decision.alarm)).name
      'DIVERGENCE'
    """
    who = "watch.divergence"  # its parts would name themselves
    checks.above(0, who, threshold=threshold)
    checks.count(who, updates=updates)
    checks.above(1, who, factor=factor)
    checks.one_of(who, "scale", scale, ("log", "linear"))
    checks.between(0, 1, who, decay=decay)
    high = spike(threshold, monitor=monitor, scale=scale, decay=decay)
    tests = {"broken": nonfinite(monitor), "high": lasting(updates, high)}
    far = excess(factor, monitor=monitor)
    c = together(**tests, **({"far": far} if scale == "log" else {}))

    def update(signals: Signals, state: Any) -> tuple[Decision, Any]:
        decision, state = c.update(signals, state)
        own = decision.alarm & int(ABOUT_CONTROL)
        diverged = (decision.alarm & ~int(ABOUT_CONTROL)) != 0
        alarm = own | jnp.where(diverged, int(Alarm.DIVERGENCE), 0)
        return decision._replace(alarm=alarm), state

    def gauges(state: Any) -> dict[str, Any]:
        z = c.gauges(state)
        return {"z": z["high/z"], "consecutive": z["high/consecutive"]}

    return c._replace(update=update, gauges=gauges, parts={}, combine=None)
