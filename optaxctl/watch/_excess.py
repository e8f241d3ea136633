"""Notice a positive signal that is many times what it was."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import Alarm
from optaxctl._core.statistics import RingState, Statistic, ring, spread
from optaxctl._core.types import F32, Flag
from optaxctl.watch._spike import spike_bit


class FirstState(NamedTuple):
    """The first finite value, and whether there is one."""

    value: F32
    seen: Flag


class ExcessState(NamedTuple):
    """State of `watch.excess`."""

    reference: FirstState | RingState  # what a value is compared with
    limit: F32  # the limit of the last update, for the gauge


@factory
def excess(
    factor: float = 10.0, *, monitor: str = "loss", window: int | None = None
) -> Controller:
    """Raises an alarm when `monitor` is more than `factor` times what it was.

    With r the first finite value, or with `window` the mean of the last `window` finite
    values before this one,

        alarm when x > factor * r

    strictly, and never for the first finite value. Values enter the mean as they are,
    so a lasting rise is accepted once it fills some of the window; against the first
    value the alarm stays up as long as the rise lasts.

    A NaN or infinite value raises no alarm, which is the work of `watch.nonfinite`, and
    is not remembered. While r is not positive there is no alarm but `OUT_OF_DOMAIN`: a
    signal of both signs has no factors.

    Args:
      factor: How many times the reference is too much, > 1.
      monitor: The signal to read, a positive one.
      window: How many values to average, >= 1, or None for the first value.

    Returns:
      A controller that moves only `alarm`: `LOSS_SPIKE` for `loss`, `GRADIENT_SPIKE`
      for `grad_norm`, `SIGNAL_SPIKE` for any other. Gauge: `limit`, infinite while
      there is none.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> watcher = octl.watch.excess(3.0)
      >>> state = watcher.init()
      >>> for loss in (2.0, 0.5, 5.0, 7.0):
      ...     decision, state = watcher.update({"loss": loss}, state)
      >>> octl.Alarm(int(decision.alarm)).name
      'LOSS_SPIKE'

    References:
      llm-foundry's `KillLossSpike` is `lasting(5, after(100, excess(2.0, window=100)))`
      but for its ties, which are alarms, and one NaN blinds it for the whole window.
    """
    who = "watch.excess"
    checks.above(1, who, factor=factor)
    if window is not None:
        checks.count(who, window=window)
    reference = _first() if window is None else _mean(window)
    bit = spike_bit(monitor)

    def init() -> ExcessState:
        return ExcessState(reference.init(), jnp.full((), jnp.inf, jnp.float32))

    def update(signals: Signals, state: ExcessState) -> tuple[Decision, ExcessState]:
        x = read(signals, monitor, who)
        (usual, seen), kept = reference.update(x, state.reference)
        judged = seen & jnp.isfinite(x)
        bound = jnp.asarray(factor, jnp.float32) * usual
        limit = jnp.where(judged & (usual > 0), bound, jnp.inf)
        outside = jnp.where(judged & (usual <= 0), int(Alarm.OUT_OF_DOMAIN), 0)
        over = jnp.where(x > limit, bit, 0)
        return decide(alarm=over | outside), ExcessState(kept, limit)

    def gauges(state: ExcessState) -> dict[str, Any]:
        return {"limit": state.limit}

    return Controller(init, update, frozenset({monitor}), gauges)


def _first() -> Statistic:
    """The first finite value; the estimate is a pair, with whether there is one."""

    def init() -> FirstState:
        return FirstState(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.bool_))

    def update(x: F32, state: FirstState) -> tuple[Any, FirstState]:
        finite = jnp.isfinite(x)
        value = jnp.where(finite & ~state.seen, x, state.value)
        return state, FirstState(value, state.seen | finite)

    return Statistic(init, update)


def _mean(window: int) -> Statistic:
    kept = ring(window)

    def update(x: F32, state: RingState) -> tuple[Any, RingState]:
        last, new = kept.update(x, state)
        usual = spread(last)
        return (usual.mean, usual.seen > 0), new

    return Statistic(kept.init, update)
