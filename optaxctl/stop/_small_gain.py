"""Stop when a value gains too little on the one before."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, I32, Flag, Mode


class SmallGainState(NamedTuple):
    """State of `stop.small_gain`."""

    last: F32  # last finite value
    seen: Flag  # whether there is one
    consecutive: I32  # small gains in a row; saturates


@factory
def small_gain(
    updates: int = 1,
    *,
    monitor: str = "val_loss",
    mode: Mode = "min",
    atol: float = 0.0,
    rtol: float = 0.0,
) -> Controller:
    """Stops when `monitor` gains too little from one update to the next.

    With y the last finite value before x_t, the gain y - x_t (x_t - y in max mode) is
    too small when

        gain <= atol + rtol * |y|

    so with both margins 0 a run that stands still or gets worse gains too little.
    `stop` is up from the `updates`-th small gain in a row until one that is large
    enough. The first finite value has no gain, and a NaN or infinite one is passed
    over.

    One small gain is often noise: give several `updates`, or `smooth` the signal.

    Args:
      updates: Small gains in a row that it takes, >= 1.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      atol: Largest gain that is too small, >= 0, in units of the signal.
      rtol: The same relative to the value before, >= 0: 0.01 for 1 %.

    Returns:
      A controller that moves only `stop` (`SMALL_GAIN`). Gauge: `consecutive`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> val_loss = jnp.array([4.0, 2.0, 1.0, 0.99])
      >>> stopper = octl.stop.small_gain(rtol=0.02)
      >>> octl.replay(stopper, {"val_loss": val_loss}).decisions.stop.tolist()
      [0, 0, 0, 32]

    References:
      `ftol` of optimization: SciPy's `minimize`, scikit-learn's `tol` with
      `n_iter_no_change` (which compares with the best value; that is `stop.patience`).
    """
    who = "stop.small_gain"
    checks.count(who, updates=updates)
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.at_least(0, who, atol=atol, rtol=rtol)
    sign = jnp.float32(1 if mode == "min" else -1)
    enough = jnp.asarray(updates, jnp.int32)

    def init() -> SmallGainState:
        return SmallGainState(
            last=jnp.zeros((), jnp.float32),
            seen=jnp.zeros((), jnp.bool_),
            consecutive=jnp.zeros((), jnp.int32),
        )

    def update(signals: Signals, state: SmallGainState) -> tuple[Decision, Any]:
        x = read(signals, monitor, who)
        ok = jnp.isfinite(x)
        share = jnp.asarray(rtol, jnp.float32) * jnp.abs(state.last)
        least = jnp.asarray(atol, jnp.float32) + share
        small = state.seen & (sign * (state.last - x) <= least)
        counted = jnp.where(small, increment(state.consecutive), 0)
        consecutive = jnp.where(ok, counted, state.consecutive)
        stop = jnp.where(consecutive >= enough, int(StopReason.SMALL_GAIN), 0)
        return decide(stop=stop), SmallGainState(
            last=jnp.where(ok, x, state.last),
            seen=state.seen | ok,
            consecutive=consecutive,
        )

    def gauges(state: SmallGainState) -> dict[str, Any]:
        return {"consecutive": state.consecutive}

    return Controller(init, update, frozenset({monitor}), gauges)
