"""Stop when a signal is across a line: its target, its limit, or finiteness."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import I32, Flag, Mode


class ThresholdState(NamedTuple):
    """State of `stop.target`, `stop.limit` and `stop.nonfinite`."""

    consecutive: I32  # updates in a row across the line; saturates


@factory
def target(
    value: float, *, updates: int = 1, monitor: str = "val_loss", mode: Mode = "min"
) -> Controller:
    """Stops when `monitor` has reached a target: there is nothing more to gain.

    In min mode x_t has reached it when x_t <= value, in max mode when x_t >= value, a
    tie included. `stop` is up from the `updates`-th such update in a row until one that
    has not. A NaN or infinite x_t reaches no target and ends the row.

    Args:
      value: The target, in units of the signal.
      updates: Updates in a row that it takes, >= 1.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.

    Returns:
      A controller that moves only `stop` (`TARGET`). Gauge: `consecutive`, in updates.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> stopper = octl.stop.target(0.99, monitor="accuracy", mode="max")
      >>> accuracy = jnp.array([0.5, 0.98, 0.99])
      >>> octl.replay(stopper, {"accuracy": accuracy}).decisions.stop.tolist()
      [0, 0, 8]

    References:
      Lightning's `stopping_threshold`, where a tie is not enough.
    """
    who = "stop.target"
    checks.finite(who, value=value)
    checks.one_of(who, "mode", mode, ("min", "max"))
    goal = jnp.asarray(value, jnp.float32)

    def reached(x: Any) -> Flag:
        return jnp.isfinite(x) & ((x <= goal) if mode == "min" else (x >= goal))

    return _while(reached, updates, monitor, StopReason.TARGET, who)


@factory
def limit(
    value: float, *, updates: int = 1, monitor: str = "val_loss", mode: Mode = "min"
) -> Controller:
    """Stops when `monitor` has gone beyond a limit: there is nothing left to save.

    In min mode x_t is beyond it when x_t > value, in max mode when x_t < value; a tie
    is not. `stop` is up from the `updates`-th such update in a row until one that is
    not. An infinite x_t is beyond any limit on its side; a NaN is beyond none and ends
    the row (`stop.nonfinite` is for that).

    Args:
      value: The limit, in units of the signal.
      updates: Updates in a row that it takes, >= 1. One value far out says little, so
        give several for a noisy signal.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.

    Returns:
      A controller that moves only `stop` (`LIMIT`). Gauge: `consecutive`, in updates.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> stopper = octl.stop.limit(5.0, updates=2)
      >>> val_loss = jnp.array([1.0, 9.0, 5.0, 9.0, 9.0])
      >>> octl.replay(stopper, {"val_loss": val_loss}).decisions.stop.tolist()
      [0, 0, 0, 0, 16]

    References:
      Lightning's `divergence_threshold`. To lower the rate or go back instead, see
      `watch.excess` and `rollback`.
    """
    who = "stop.limit"
    checks.finite(who, value=value)
    checks.one_of(who, "mode", mode, ("min", "max"))
    last = jnp.asarray(value, jnp.float32)

    def beyond(x: Any) -> Flag:
        return (x > last) if mode == "min" else (x < last)

    return _while(beyond, updates, monitor, StopReason.LIMIT, who)


@factory
def nonfinite(updates: int = 1, *, monitor: str = "val_loss") -> Controller:
    """Stops when `monitor` has been NaN or infinite `updates` times in a row.

    `stop` is up until the next finite value.

    Args:
      updates: Updates in a row that it takes, >= 1.
      monitor: The signal to read.

    Returns:
      A controller that moves only `stop` (`NONFINITE`). Gauge: `consecutive`, in
      updates.

    Raises:
      ValueError: If `updates` is not a whole number >= 1.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> val_loss = jnp.array([jnp.nan, 1.0, jnp.inf, jnp.nan])
      >>> stopper = octl.stop.nonfinite(2)
      >>> octl.replay(stopper, {"val_loss": val_loss}).decisions.stop.tolist()
      [0, 0, 0, 2]

    References:
      Keras' `TerminateOnNaN` and Lightning's `check_finite`, which stop at the first.
    """
    broken = lambda x: ~jnp.isfinite(x)
    return _while(broken, updates, monitor, StopReason.NONFINITE, "stop.nonfinite")


def _while(
    crossed: Any, updates: int, monitor: str, reason: StopReason, who: str
) -> Controller:
    """Stops while the last `updates` values have `crossed`."""
    checks.count(who, updates=updates)
    enough = jnp.asarray(updates, jnp.int32)

    def init() -> ThresholdState:
        return ThresholdState(jnp.zeros((), jnp.int32))

    def update(signals: Signals, state: ThresholdState) -> tuple[Decision, Any]:
        across = crossed(read(signals, monitor, who))
        consecutive = jnp.where(across, increment(state.consecutive), 0)
        stop = jnp.where(consecutive >= enough, int(reason), 0)
        return decide(stop=stop), ThresholdState(consecutive)

    def gauges(state: ThresholdState) -> dict[str, Any]:
        return {"consecutive": state.consecutive}

    return Controller(init, update, frozenset({monitor}), gauges)
