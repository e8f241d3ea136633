"""Stop when a signal shows no trend to the better."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.special import ndtr

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.statistics import RingState, held, ring
from optaxctl._core.types import F32, Mode

_LARGEST = 1000  # The variance takes twice its cube, which is just within int32.


class TrendState(NamedTuple):
    """State of `stop.trend`."""

    values: RingState  # the last finite values
    p_value: F32  # that chance alone orders them so well; 0 while there are too few


@factory
def trend(
    window: int = 20,
    *,
    p_value: float = 0.5,
    monitor: str = "val_loss",
    mode: Mode = "min",
) -> Controller:
    """Stops while the last `window` values of `monitor` show no trend to the better.

    The test of Mann and Kendall. With x the last n = `window` finite values, oldest
    first, this one included, in min mode

        S = sum of sign(x_j - x_i) over all i < j
        V = (n (n - 1)(2 n + 5) - sum of t (t - 1)(2 t + 5) over ties of t) / 18
        p = Phi((S + 1) / sqrt(V)),  stop while p > p_value

    where p is the probability that values in random order fall as clearly as these. In
    max mode x is negated. Equal values have p = 1. Before there are `window` values it
    does not stop. A NaN or infinite value is passed over, and what held before goes on
    holding; a run that stays broken is ended by `stop.nonfinite`.

    It looks at order alone, so one outlier says little and a scale nothing. The values
    of neighbouring windows are nearly the same: `p_value` is a setting, not the share
    of runs that are stopped in error. At 0.5 a run goes on while more pairs fall than
    rise; lower it and the trend must be clearer, so that runs stop earlier.

    Args:
      window: Values to test, >= 4 and <= 1000; the cost grows with its square.
      p_value: Largest p that still is a trend, > 0 and < 1.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.

    Returns:
      A controller that moves only `stop`. Gauge: `p_value`, 0 before there are `window`
      values.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> losses = jnp.array([9.0, 6.0, 7.0, 5.0, 6.0, 5.5, 5.8])
      >>> replay = octl.replay(octl.stop.trend(5), {"val_loss": losses})
      >>> [round(float(p), 2) for p in replay.gauges["p_value"]]
      [0.0, 0.0, 0.0, 0.0, 0.16, 0.31, 0.4]

    References:
      Mann, `Nonparametric Tests Against Trend <https://doi.org/10.2307/1907187>`_,
      1945; Kendall, `Rank Correlation Methods`, 1948. The normal approximation of the
      one-sided test, corrected for ties and for S being whole. On recorded losses,
      accuracies and returns it missed as little at an equal saving as the t-test of a
      fitted slope, and less in runs with spikes, where one turns that slope around.
    """
    who = "stop.trend"
    checks.count(who, low=4, window=window)
    checks.require(
        window <= _LARGEST, who, "window", window, f"a whole number <= {_LARGEST}"
    )
    checks.between(0, 1, who, p_value=p_value)
    checks.one_of(who, "mode", mode, ("min", "max"))
    level = jnp.asarray(p_value, jnp.float32)
    sign = 1 if mode == "min" else -1
    kept = ring(window)

    def init() -> TrendState:
        return TrendState(kept.init(), jnp.zeros((), jnp.float32))

    def update(signals: Signals, state: TrendState) -> tuple[Decision, TrendState]:
        x = read(signals, monitor, who)
        _, values = kept.update(x, state.values)
        # What a further value would be compared with is the window up to this one.
        now = held(values)
        earlier, later = now.values[:, None], now.values[None, :]
        rises = jnp.triu(later > earlier).sum() - jnp.triu(later < earlier).sum()
        alike = (later == earlier).sum(axis=0)
        ties = ((alike - 1) * (2 * alike + 5)).sum()
        most = window * (window - 1) * (2 * window + 5)
        variance = (most - ties).astype(jnp.float32) / 18
        found = ndtr((sign * rises + 1).astype(jnp.float32) / jnp.sqrt(variance))
        ready = now.valid[0] & jnp.isfinite(x)
        new = TrendState(values, jnp.where(ready, found, state.p_value))
        none = new.p_value > level
        return decide(stop=jnp.where(none, int(StopReason.NO_TREND), 0)), new

    def gauges(state: TrendState) -> dict[str, Any]:
        return {"p_value": state.p_value}

    return Controller(init, update, frozenset({monitor}), gauges)
