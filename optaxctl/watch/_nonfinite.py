"""Notice a signal that is NaN or infinite."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import Alarm
from optaxctl._core.types import I32

_BITS = {"loss": Alarm.NONFINITE_LOSS, "grad_norm": Alarm.NONFINITE_GRADIENT}
_INFINITE = {"grad_norm": Alarm.GRADIENT_EXPLODED}


class NonfiniteState(NamedTuple):
    """State of `watch.nonfinite`."""

    consecutive: I32  # updates in a row with a non-finite signal; saturates
    total: I32  # all such updates; saturates


@factory
def nonfinite(*monitors: str) -> Controller:
    """Raises an alarm when a monitored signal is NaN or infinite.

    Its bits name the signals that are not finite in this update; it falls with the
    first update in which all are finite. Around it, `lasting` waits for several such
    updates in a row.

    A gradient norm is infinite when a gradient is, and also when the squares of finite
    gradients overflow float32, from a norm of 1.8e19 on. Both are reported as exploded
    and not as NaN, and neither is of any use to an optimizer. To tell them apart would
    take a second, scaled norm, which costs a kernel for every tensor.

    Args:
      *monitors: The signals to read; `loss` and `grad_norm` if none is given.

    Returns:
      A controller that moves only `alarm`: `NONFINITE_LOSS` for `loss`,
      `NONFINITE_GRADIENT` for a `grad_norm` that is NaN and `GRADIENT_EXPLODED` for
      one that is infinite, `NONFINITE_SIGNAL` for any other signal. Gauges:
      `consecutive` and `total`, in updates.

    Example:
      >>> import optaxctl as octl
      >>> watcher = octl.watch.nonfinite("loss")
      >>> decision, _ = watcher.update({"loss": float("nan")}, watcher.init())
      >>> octl.Alarm(int(decision.alarm)).name
      'NONFINITE_LOSS'
    """
    who = "watch.nonfinite"
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
            x = read(signals, name, who)
            bit = _BITS.get(name, Alarm.NONFINITE_SIGNAL)
            infinite = int(_INFINITE.get(name, bit))
            bits |= jnp.where(jnp.isnan(x), int(bit), 0)
            bits |= jnp.where(jnp.isinf(x), infinite, 0)
        broken = bits != 0
        return decide(alarm=bits), NonfiniteState(
            consecutive=jnp.where(broken, increment(state.consecutive), 0),
            total=jnp.where(broken, increment(state.total), state.total),
        )

    def gauges(state: NonfiniteState) -> dict[str, Any]:
        return {"consecutive": state.consecutive, "total": state.total}

    return Controller(init, update, frozenset(names), gauges)
