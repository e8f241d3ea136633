"""Lower the learning rate when a signal stops improving."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.adjustment import AdjustmentState, adjustment
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.improvement import BestState, improvement
from optaxctl._core.types import I32, Mode, Nonfinite


class PlateauState(NamedTuple):
    """State of `lr.plateau`."""

    best: BestState  # the best value and updates since, none while cooling down
    gains: I32  # improvements since the last change
    adjustment: AdjustmentState  # the scale in force and its limits


@factory
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
    eps: float = 0.0,
    recover: int = 0,
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
    nothing and costs nothing, and so does one by no more than `eps`. A NaN or infinite
    x_t never improves. With `recover` a cut is lent: every `recover` improvements since
    the last change divide the scale by `factor`, up to 1.

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
      eps: A change of the scale by no more than this is not made, >= 0.
      recover: Improvements that give one cut back, >= 1, or 0 for never.
      max_adjustments: Most changes in a run, >= 1, or None for no limit.
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
      float32 whatever the parameters are, and a NaN does not enter it. `lr.like_torch`,
      `lr.like_keras` and `lr.like_optax` translate their arguments.
    """
    who = "lr.plateau"
    checks.count(who, updates=updates)
    limit = jnp.asarray(updates, jnp.int32)
    test = improvement(who, mode=mode, atol=atol, rtol=rtol, nonfinite=nonfinite)
    checks.between(0, 1, who, factor=factor)
    checks.count(who, low=0, recover=recover)
    enough = jnp.asarray(recover, jnp.int32)
    adjust = adjustment(
        who, floor=floor, cooldown=cooldown, max_adjustments=max_adjustments, eps=eps
    )

    def init() -> PlateauState:
        return PlateauState(test.init(), jnp.zeros((), jnp.int32), adjust.init())

    def update(signals: Signals, state: PlateauState) -> tuple[Decision, PlateauState]:
        improved, best = test.update(read(signals, monitor, who), state.best)
        stale = jnp.where(adjust.ready(state.adjustment), best.stale, 0)
        wanted = stale >= limit
        gains = jnp.where(improved, increment(state.gains), state.gains)
        returns = (gains >= enough) & (enough > 0)
        down = jnp.asarray(factor, jnp.float32)
        wish = jnp.where(wanted, down, jnp.where(returns, 1 / down, 1))
        moved = adjust.update(wish, state.adjustment)
        best = BestState(best.best, best.seen, jnp.where(wanted, 0, stale))
        gains = jnp.where(wanted | returns, 0, gains)
        return decide(lr_scale=moved.scale), PlateauState(best, gains, moved)

    def gauges(state: PlateauState) -> dict[str, Any]:
        return {
            "scale": state.adjustment.scale,
            "adjustments": state.adjustment.made,
            "patience_left": limit - state.best.stale,
            "to_beat": test.to_beat(state.best),
        }

    return Controller(init, update, frozenset({monitor}), gauges)
