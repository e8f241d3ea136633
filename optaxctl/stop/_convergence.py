"""Stop when a signal hardly changes any more."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.statistics import RingState, held, ring
from optaxctl._core.types import F32


class ConvergenceState(NamedTuple):
    """State of `stop.convergence`."""

    values: RingState  # the last finite values
    range: F32  # of these, from lowest to highest; infinite while there are too few
    tolerance: F32  # the range that is small enough


@factory
def convergence(
    window: int = 10,
    *,
    monitor: str = "val_loss",
    atol: float = 0.0,
    rtol: float = 1e-3,
) -> Controller:
    """Stops while the last `window` values of `monitor` are all but the same.

    With x the last `window` finite values, this one included,

        max x - min x <= atol + rtol * |mean x|

    so with both at 0 it takes `window` equal values. Whether they are good ones does
    not matter, nor which way they go: this is a test for a run that stands still, and a
    noisy one never does. Before there are `window` values it does not stop. A NaN or
    infinite value is passed over, and what held before goes on holding; a run that
    stays broken is ended by `stop.nonfinite`.

    Args:
      window: Values to compare, >= 2.
      monitor: The signal to read.
      atol: Range that is small enough, >= 0, in units of the signal.
      rtol: The same relative to |mean|, >= 0.

    Returns:
      A controller that moves only `stop`. Gauges, in units of the signal: `range`,
      infinite before there are `window` values, and `tolerance`, then 0.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> losses = jnp.array([2.0, 1.0, 0.51, 0.5, 0.5, 0.9])
      >>> stopper = octl.stop.convergence(3, atol=0.02)
      >>> stop = octl.replay(stopper, {"val_loss": losses}).decisions.stop
      >>> [bool(s) for s in stop]
      [False, False, False, False, True, False]

    References:
      The usual end of an optimisation, as `ftol` of SciPy, over more than two values.
    """
    who = "stop.convergence"
    checks.count(who, low=2, window=window)
    checks.at_least(0, who, atol=atol, rtol=rtol)
    limit, share = jnp.asarray(atol, jnp.float32), jnp.asarray(rtol, jnp.float32)
    kept = ring(window)

    def init() -> ConvergenceState:
        return ConvergenceState(
            values=kept.init(),
            range=jnp.full((), jnp.inf, jnp.float32),
            tolerance=jnp.zeros((), jnp.float32),
        )

    def update(
        signals: Signals, state: ConvergenceState
    ) -> tuple[Decision, ConvergenceState]:
        x = read(signals, monitor, who)
        _, values = kept.update(x, state.values)
        # What a further value would be compared with is the window up to this one.
        now = held(values)
        ready = now.valid[0] & jnp.isfinite(x)
        range_ = jnp.max(now.values) - jnp.min(now.values)
        mean = jnp.sum(now.values / window)
        tolerance = limit + share * jnp.abs(mean)
        new = ConvergenceState(
            values=values,
            range=jnp.where(ready, range_, state.range),
            tolerance=jnp.where(ready, tolerance, state.tolerance),
        )
        small = jnp.isfinite(new.range) & (new.range <= new.tolerance)
        return decide(stop=jnp.where(small, int(StopReason.CONVERGED), 0)), new

    def gauges(state: ConvergenceState) -> dict[str, Any]:
        return {"range": state.range, "tolerance": state.tolerance}

    return Controller(init, update, frozenset({monitor}), gauges)
