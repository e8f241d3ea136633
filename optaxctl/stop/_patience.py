"""Stop when a signal has not improved for a while."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.improvement import BestState, improvement
from optaxctl._core.types import F32, I32, Flag, Mode


class PatienceState(NamedTuple):
    """State of `stop.patience`."""

    best: F32  # best finite value so far, negated in max mode
    seen: Flag  # whether there is a best
    stale: I32  # updates since the last gain that counts; saturates


@factory
def patience(
    updates: int,
    *,
    monitor: str = "val_loss",
    mode: Mode = "min",
    atol: float = 0.0,
    rtol: float = 0.0,
    cumulative: bool = True,
    baseline: float | None = None,
    nonfinite: Literal["count", "ignore", "stop"] = "count",
) -> Controller:
    """Stops once `monitor` has not improved for `updates` updates in a row.

    With x_t the monitored value and b_t the best finite value before it, x_t improves
    in min mode when

        x_t < b_t - (atol + rtol * |b_t|)

    strictly, so a tie is no improvement; the first finite value always improves. In
    max mode x_t and b_t are negated. `stop` is up from the `updates`-th update in a
    row without improvement until the next improvement: it is a level, which `control`
    latches. A NaN or infinite x_t never improves and never becomes the best value.

    If not `cumulative`, b_t is the best value of all: a gain that is too small to count
    moves it too, so that small gains do not add up. With a `baseline` B an improvement
    resets the count only if x_t < B - (atol + rtol * |B|) too; until then it counts,
    but does not stop.

    Args:
      updates: Updates without improvement before stopping, >= 1. One update is one
        call with the signal: one evaluation where the signal is observed.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      atol: Smallest gain that counts, >= 0, in units of the signal.
      rtol: Smallest gain relative to |best|, >= 0.
      cumulative: Whether gains too small to count add up until they do.
      baseline: A value to be beaten: once `updates` updates have not, the next one
        that does not improve stops. None for no such value.
      nonfinite: Whether a non-finite value counts as an update without improvement
        ("count"), is passed over ("ignore"), or stops at once, as `NONFINITE`
        ("stop"). An all-NaN run never ends by "ignore".

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left` and `stale`, the
      updates left and those since the last gain; `to_beat` in units of the signal,
      infinite before the first finite value unless there is a baseline.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.patience(2)
      >>> state = stopper.init()
      >>> for val_loss in (0.9, 0.7, 0.7, 0.8):
      ...     decision, state = stopper.update({"val_loss": val_loss}, state)
      ...     print(int(decision.stop), int(stopper.gauges(state)["patience_left"]))
      0 2
      0 2
      0 1
      1 0

    References:
      Prechelt, `Early Stopping - But When?
      <https://doi.org/10.1007/3-540-49430-8_3>`_, 1998. The count is that of Keras
      and Lightning; Flax and torch's plateau act one update later. Unlike Keras, a
      NaN in the first update does not poison the best value, and unlike Ignite `rtol`
      is right for negative values. Ignite and Transformers are not cumulative.
    """
    who = "stop.patience"
    checks.count(who, updates=updates)
    limit = jnp.asarray(updates, jnp.int32)
    checks.one_of(who, "nonfinite", nonfinite, ("count", "ignore", "stop"))
    test = improvement(
        who,
        mode=mode,
        atol=atol,
        rtol=rtol,
        nonfinite="ignore" if nonfinite == "ignore" else "count",
        cumulative=cumulative,
        baseline=baseline,
    )

    def init() -> PatienceState:
        return PatienceState(*test.init())

    def update(
        signals: Signals, state: PatienceState
    ) -> tuple[Decision, PatienceState]:
        x = read(signals, monitor, who)
        improved, best = test.update(x, BestState(*state))
        over = (best.stale >= limit) & ~improved
        stop = jnp.where(over, int(StopReason.PATIENCE), 0)
        if nonfinite == "stop":
            stop |= jnp.where(jnp.isfinite(x), 0, int(StopReason.NONFINITE))
        return decide(stop=stop), PatienceState(*best)

    def gauges(state: PatienceState) -> dict[str, Any]:
        return {
            "patience_left": jnp.maximum(limit - state.stale, 0),
            "to_beat": test.to_beat(BestState(*state)),
            "stale": state.stale,
        }

    return Controller(init, update, frozenset({monitor}), gauges)
