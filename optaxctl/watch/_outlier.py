"""Notice a signal that is far above the mean of its last values."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.statistics import RingState, ring, spread
from optaxctl._core.types import F32
from optaxctl.watch._spike import spike_bit


class OutlierState(NamedTuple):
    """State of `watch.outlier`."""

    values: RingState  # the last finite values
    z: F32  # the z-score of the last update, for the gauge


@factory
def outlier(
    threshold: float = 6.0,
    *,
    monitor: str = "loss",
    window: int = 128,
    min_updates: int = 64,
    ddof: Literal[0, 1] = 1,
    eps: float = 0.0,
) -> Controller:
    """Raises an alarm when `monitor` is far above the mean of its last values.

    With mu and sigma the mean and the standard deviation (with `ddof`) of the last
    `window` finite values before this one,

        alarm when x > mu + threshold * max(sigma, eps)

    strictly, and never before there are `min_updates` of them. Values are remembered as
    they are, spikes too, so a lasting rise is accepted once it fills some of the
    window. A NaN or infinite value raises no alarm, which is the work of
    `watch.nonfinite`, and is not remembered.

    `watch.spike` is awake from the second value on and judges logarithms; this one is
    for those who want the rule that they know.

    Args:
      threshold: How many deviations above the mean are too many, > 0.
      monitor: The signal to read.
      window: How many values to keep, >= 2.
      min_updates: Values to wait for, >= 2 and <= `window`.
      ddof: 1 to divide the squares by n - 1, 0 by n.
      eps: Least standard deviation, >= 0, in units of the signal.

    Returns:
      A controller that moves only `alarm`: `LOSS_SPIKE` for `loss`, `GRADIENT_SPIKE`
      for `grad_norm`, `SIGNAL_SPIKE` for any other. Gauge: `z`, 0 while it waits.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> watcher = octl.watch.outlier(3.0, window=4, min_updates=4)
      >>> state = watcher.init()
      >>> for loss in (2.0, 1.9, 2.1, 2.0, 80.0):
      ...     decision, state = watcher.update({"loss": loss}, state)
      >>> octl.Alarm(int(decision.alarm)).name
      'LOSS_SPIKE'

    References:
      OLMo-core's `SkipStepOptimizer` and MaxText's `skip_step_on_spikes` with
      `min_updates=63`, Levanter's `skip_bad_steps` with `ddof=0, eps=1e-6` too: two of
      these, for `loss` and for `grad_norm`, in `respond(..., skip=True)`. In all three
      one NaN refuses every step for the whole window; in Levanter's it also makes the
      update NaN.
    """
    who = "watch.outlier"
    checks.above(0, who, threshold=threshold)
    checks.count(who, low=2, window=window, min_updates=min_updates)
    checks.require(
        min_updates <= window, who, "min_updates", min_updates, f"<= window = {window}"
    )
    checks.one_of(who, "ddof", ddof, (0, 1))
    checks.at_least(0, who, eps=eps)
    kept = ring(window)
    bit = spike_bit(monitor)

    def init() -> OutlierState:
        return OutlierState(kept.init(), jnp.zeros((), jnp.float32))

    def update(signals: Signals, state: OutlierState) -> tuple[Decision, OutlierState]:
        x = read(signals, monitor, who)
        last, values = kept.update(x, state.values)
        usual = spread(last, ddof=ddof)
        std = jnp.maximum(usual.std, eps)
        limit = usual.mean + jnp.asarray(threshold, jnp.float32) * std
        # Values of both signs may lie further apart than a float32 can say.
        ready = jnp.isfinite(x) & jnp.isfinite(limit) & (usual.seen >= min_updates)
        alarm = jnp.where(ready & (x > limit), bit, 0)
        z = (x - usual.mean) / jnp.maximum(std, jnp.finfo(jnp.float32).tiny)
        return decide(alarm=alarm), OutlierState(values, jnp.where(ready, z, 0))

    def gauges(state: OutlierState) -> dict[str, Any]:
        return {"z": state.z}

    return Controller(init, update, frozenset({monitor}), gauges)
