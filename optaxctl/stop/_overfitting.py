"""Stop when validation stays too far behind training."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, I32, Mode


class OverfittingState(NamedTuple):
    """State of `stop.overfitting`."""

    gap: F32  # by how much validation was worse, at the last finite pair
    wide: I32  # updates in a row with too wide a gap; saturates


@factory
def overfitting(
    updates: int = 5,
    *,
    monitor: str = "val_loss",
    reference: str = "loss",
    mode: Mode = "min",
    atol: float = 0.0,
    rtol: float = 0.2,
) -> Controller:
    """Stops once validation has been too far behind training for `updates` updates.

    With v the monitored value and r the reference, in min mode

        gap = v - r,  too wide when  gap > atol + rtol * |r|

    strictly; in max mode gap = r - v. `stop` is up from the `updates`-th update in a
    row with too wide a gap until one without. An update in which either value is NaN or
    infinite is passed over: it neither counts nor ends the row.

    A gap is no loss: a run may overfit and its validation improve all the same, so this
    says that more training is of little use, and `stop.patience` that it is of none.

    Both values must be measured in the same update. In an evaluation step hand over
    both. Inside `control`, where the loss comes in every step and validation seldom,
    observe both under names of their own:

        overfit = octl.stop.overfitting(reference="train_loss")
        tx = octl.control(adam, overfit, observed=("val_loss", "train_loss"))

    For noisy values put `smooth` around it, once for each of the two.

    Args:
      updates: Updates in a row with too wide a gap before stopping, >= 1.
      monitor: The signal of validation.
      reference: The same measure on the training data.
      mode: Whether lower ("min") or higher ("max") values are better.
      atol: Gap that is allowed, >= 0, in units of the signals.
      rtol: The same relative to |reference|, >= 0.

    Returns:
      A controller that moves only `stop`. Gauges: `gap` in units of the signals,
      positive where validation is worse, 0 at first, and `patience_left` in updates.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.overfitting(2, rtol=0.5)
      >>> state = stopper.init()
      >>> for loss, val_loss in ((0.9, 1.0), (0.5, 0.8), (0.3, 0.7)):
      ...     signals = {"loss": loss, "val_loss": val_loss}
      ...     decision, state = stopper.update(signals, state)
      >>> octl.StopReason(int(decision.stop)).name
      'OVERFITTING'

    References:
      No library has this rule; `stop.progress_quotient` is the classic one that reads
      training and validation.
    """
    who = "stop.overfitting"
    checks.count(who, updates=updates)
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.at_least(0, who, atol=atol, rtol=rtol)
    limit = jnp.asarray(updates, jnp.int32)
    sign = jnp.float32(1 if mode == "min" else -1)

    def init() -> OverfittingState:
        return OverfittingState(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    def update(
        signals: Signals, state: OverfittingState
    ) -> tuple[Decision, OverfittingState]:
        v = sign * read(signals, monitor, who)
        r = sign * read(signals, reference, who)
        share = jnp.asarray(rtol, jnp.float32) * jnp.abs(r)
        over = v - r > jnp.asarray(atol, jnp.float32) + share
        wide = jnp.where(over, increment(state.wide), 0)
        ok = jnp.isfinite(v) & jnp.isfinite(r)
        new = OverfittingState(
            gap=jnp.where(ok, v - r, state.gap),
            wide=jnp.where(ok, wide, state.wide),
        )
        stop = jnp.where(new.wide >= limit, int(StopReason.OVERFITTING), 0)
        return decide(stop=stop), new

    def gauges(state: OverfittingState) -> dict[str, Any]:
        left = jnp.maximum(limit - state.wide, 0)
        return {"gap": state.gap, "patience_left": left}

    return Controller(init, update, frozenset({monitor, reference}), gauges)
