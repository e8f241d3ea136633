"""Notice a signal that is NaN or infinite."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.flags import Alarm
from optaxctl._core.types import I32

_BITS = {"loss": Alarm.NONFINITE_LOSS, "grad_norm": Alarm.NONFINITE_GRADIENT}


class NonfiniteState(NamedTuple):
    """State of `watch.nonfinite`."""

    consecutive: I32  # updates in a row with a non-finite signal; saturates
    total: I32  # all such updates; saturates


def nonfinite(
    *monitors: str,
    updates: int = 1,
) -> Controller:
    """Raises an alarm when a monitored signal is NaN or infinite.

    The alarm is up in the `updates`-th update in a row in which any monitored signal
    is not finite and in those that follow, and falls with the first update in which
    all are finite. Its bits name the signals that are not finite in this update.

    A gradient norm is infinite too when the squares of finite gradients overflow
    float32, that is from a norm of 1.8e19 on: exploded rather than NaN, and as little
    use to an optimizer.

    Args:
      *monitors: The signals to read; `loss` and `grad_norm` if none is given.
      updates: Updates in a row before the alarm, >= 1.

    Returns:
      A controller that moves only `alarm`: `NONFINITE_LOSS` for `loss`,
      `NONFINITE_GRADIENT` for `grad_norm`, `NONFINITE_SIGNAL` for any other. Gauges:
      `consecutive` and `total`, in updates.

    Raises:
      ValueError: If `updates` is not a whole number >= 1.

    Example:
      >>> import optaxctl as octl
      >>> watcher = octl.watch.nonfinite("loss")
      >>> decision, _ = watcher.update({"loss": float("nan")}, watcher.init())
      >>> octl.Alarm(int(decision.alarm)).name
      'NONFINITE_LOSS'
    """
    who = "watch.nonfinite"
    checks.count(who, updates=updates)
    names = monitors or ("loss", "grad_norm")

    def init() -> NonfiniteState:
        return NonfiniteState(
            consecutive=jnp.zeros((), jnp.int32), total=jnp.zeros((), jnp.int32)
        )

    def update(
        signals: Signals, state: NonfiniteState
    ) -> tuple[Decision, NonfiniteState]:
        bits = jnp.zeros((), jnp.int32)
        for name in names:
            bad = ~jnp.isfinite(read(signals, name, who))
            bit = int(_BITS.get(name, Alarm.NONFINITE_SIGNAL))
            bits |= jnp.where(bad, bit, 0)
        broken = bits != 0
        consecutive = jnp.where(broken, increment(state.consecutive), 0)
        total = jnp.where(broken, increment(state.total), state.total)
        alarm = jnp.where(consecutive >= updates, bits, 0)
        return decide(alarm=alarm), NonfiniteState(consecutive, total)

    def gauges(state: NonfiniteState) -> dict[str, Any]:
        return {"consecutive": state.consecutive, "total": state.total}

    return Controller(init, update, frozenset(names), gauges)
