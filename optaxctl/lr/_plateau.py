"""Lower the learning rate when a signal stops improving."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.adjustment import AdjustmentState, adjustment
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.improvement import BestState, improvement
from optaxctl._core.types import Mode, Nonfinite


class PlateauState(NamedTuple):
    """State of `lr.plateau`."""

    best: BestState  # the best value and updates since, none while cooling down
    adjustment: AdjustmentState  # the scale in force and its limits


def plateau(
    updates: int = 10,
    *,
    factor: float = 0.1,
    monitor: str = "val_loss",
    mode: Mode = "min",
    atol: float = 0.0,
    rtol: float = 1e-4,
    cooldown: int = 0,
    floor: float = 0.0,
    max_adjustments: int | None = None,
    nonfinite: Nonfinite = "ignore",
) -> Controller:
    """Multiplies the learning rate by `factor` when `monitor` stops improving.

    With x_t the monitored value and b_t the best finite value before it, x_t improves
    in min mode when

        x_t < b_t - (atol + rtol * |b_t|)

    strictly; the first finite value always improves. At the `updates`-th update in a
    row without improvement the scale becomes max(scale * factor, floor) and the count
    starts again. The next `cooldown` updates are not counted, though an improvement
    in them is remembered. A wish that `floor` or `max_adjustments` refuses changes
    nothing and costs nothing. A NaN or infinite x_t never improves.

    Args:
      updates: Updates without improvement before a cut, >= 1. torch's `patience=n`
        is `updates=n + 1` here; Keras' and Optax's is `updates=n`.
      factor: The factor of one cut, > 0 and < 1.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      atol: Smallest gain that counts, >= 0, in units of the signal.
      rtol: Smallest gain relative to |best|, >= 0.
      cooldown: Updates to ignore after a cut, >= 0.
      floor: Lower bound of the product of all cuts, in [0, 1].
      max_adjustments: Most cuts in a run, >= 1, or None for no limit.
      nonfinite: Whether a non-finite value counts as an update without improvement
        ("count", as torch) or is passed over ("ignore").

    Returns:
      A controller that moves only `lr_scale`. Gauges: `scale`, `adjustments`,
      `patience_left` in updates, `to_beat` in units of the signal.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> rate = octl.lr.plateau(2, factor=0.5, monitor="loss")
      >>> state = rate.init()
      >>> for loss in (1.0, 1.0, 1.0, 0.5):
      ...     decision, state = rate.update({"loss": loss}, state)
      ...     print(float(decision.lr_scale))
      1.0
      1.0
      0.5
      0.5

    References:
      torch `ReduceLROnPlateau`, `optax.contrib.reduce_on_plateau`. Unlike both, the
      relative margin is right for negative values, and unlike Optax's the state is
      float32 whatever the parameters are, and a NaN does not enter it.
    """
    who = "lr.plateau"
    checks.count(who, updates=updates)
    limit = jnp.asarray(updates, jnp.int32)
    test = improvement(who, mode=mode, atol=atol, rtol=rtol, nonfinite=nonfinite)
    checks.between(0, 1, who, factor=factor)
    adjust = adjustment(
        who, floor=floor, cooldown=cooldown, max_adjustments=max_adjustments
    )

    def init() -> PlateauState:
        return PlateauState(test.init(), adjust.init())

    def update(signals: Signals, state: PlateauState) -> tuple[Decision, PlateauState]:
        _, best = test.update(read(signals, monitor, who), state.best)
        stale = jnp.where(adjust.ready(state.adjustment), best.stale, 0)
        wanted = stale >= limit
        moved = adjust.update(jnp.where(wanted, factor, 1), state.adjustment)
        best = BestState(best.best, best.seen, jnp.where(wanted, 0, stale))
        return decide(lr_scale=moved.scale), PlateauState(best, moved)

    def gauges(state: PlateauState) -> dict[str, Any]:
        return {
            "scale": state.adjustment.scale,
            "adjustments": state.adjustment.made,
            "patience_left": limit - state.best.stale,
            "to_beat": test.to_beat(state.best),
        }

    return Controller(init, update, frozenset({monitor}), gauges)
