"""Notice a signal that jumps far above its recent values."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import Alarm
from optaxctl._core.statistics import MomentsState, moments
from optaxctl._core.types import F32

_BITS = {"loss": Alarm.LOSS_SPIKE, "grad_norm": Alarm.GRADIENT_SPIKE}
_PRIOR_VAR = 0.05  # of the logarithm; of (x/x_0) on a linear scale
_STD_FLOOR = 0.01  # likewise: a change of 1 % is never a spike
_WINSOR = 3.0


def spike_bit(monitor: str) -> int:
    """Returns the alarm that says that `monitor` jumped."""
    return int(_BITS.get(monitor, Alarm.SIGNAL_SPIKE))


class SpikeState(NamedTuple):
    """State of `watch.spike`."""

    moments: MomentsState  # of the signal, on its scale
    z: F32  # the z-score of the last update, for the gauge


@factory
def spike(
    threshold: float = 10.0,
    *,
    monitor: str = "loss",
    scale: Literal["log", "linear"] = "log",
    decay: float = 0.99,
) -> Controller:
    """Raises an alarm when `monitor` is more than `threshold` deviations too high.

    With y = log x (or x, by `scale`), and mu and sigma the running mean and standard
    deviation of y before this update,

        z = (y - mu) / sigma,    alarm when z > threshold

    strictly; 0.01 (times |mu| on a linear scale) is part of every sigma. The moments
    start from a prior, the first finite y with a variance of 0.05 (times x_0^2) and the
    weight of ten values, so the alarm is awake from the second update on: most runs
    that die do so in their first ten steps. An outlier enters the moments cut to 3
    sigma, so a lasting change of level is accepted after a while instead of alarming
    for ever, and yet some tens of bad steps in a row do not pass for the new usual.

    A NaN or infinite value raises no spike, which is the work of `watch.nonfinite`,
    and leaves the moments as they are. On a log scale a value that is not positive
    does the same and raises `OUT_OF_DOMAIN`.

    Args:
      threshold: The z-score above which to alarm, > 0.
      monitor: The signal to read.
      scale: "log" for positive signals such as losses and norms, "linear" for signed.
      decay: Weight of the past in the running moments, > 0 and < 1.

    Returns:
      A controller that moves only `alarm`: `LOSS_SPIKE` for `loss`, `GRADIENT_SPIKE`
      for `grad_norm`, `SIGNAL_SPIKE` for any other. Gauge: `z`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> watcher = octl.watch.spike(6.0)
      >>> state = watcher.init()
      >>> for loss in (2.0, 1.9, 2.1, 80.0):
      ...     decision, state = watcher.update({"loss": loss}, state)
      >>> octl.Alarm(int(decision.alarm)).name
      'LOSS_SPIKE'

    References:
      The rule of OLMo-core's `SkipStepOptimizer` and MaxText's
      `skip_step_on_spikes`, mean + 6 sigma of the last 128 raw values after 64, here
      on logarithms and without their blind start; one NaN does not blind it.
    """
    who = "watch.spike"
    checks.above(0, who, threshold=threshold)
    checks.between(0, 1, who, decay=decay)
    checks.one_of(who, "scale", scale, ("log", "linear"))
    bit = spike_bit(monitor)
    logarithmic = scale == "log"

    def unit(y: F32) -> F32:
        return jnp.ones((), jnp.float32) if logarithmic else jnp.abs(y)

    statistic = moments(
        decay,
        prior_var=lambda y: _PRIOR_VAR * unit(y) ** 2,
        floor=lambda mean: _STD_FLOOR * unit(mean),
        winsor=_WINSOR,
    )

    def init() -> SpikeState:
        return SpikeState(statistic.init(), jnp.zeros((), jnp.float32))

    def update(signals: Signals, state: SpikeState) -> tuple[Decision, SpikeState]:
        x = read(signals, monitor, who)
        outside = logarithmic & jnp.isfinite(x) & (x <= 0)
        y = jnp.log(x) if logarithmic else x
        usual, admitted = statistic.update(y, state.moments)
        z = (y - usual.mean) / jnp.maximum(usual.std, jnp.finfo(jnp.float32).tiny)
        z = jnp.where(jnp.isfinite(y), z, 0)
        spiked = jnp.where(z > threshold, bit, 0)
        alarm = spiked | jnp.where(outside, int(Alarm.OUT_OF_DOMAIN), 0)
        return decide(alarm=alarm), SpikeState(admitted, z)

    def gauges(state: SpikeState) -> dict[str, Any]:
        return {"z": state.z}

    return Controller(init, update, frozenset({monitor}), gauges)
