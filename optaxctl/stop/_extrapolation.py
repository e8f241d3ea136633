"""Stop when a signal is not expected to beat its best any more."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.improvement import BestState, improvement
from optaxctl._core.statistics import RingState, held, ring
from optaxctl._core.types import F32, I32, Mode

_EXPONENTS = (0.125, 0.25, 0.5, 1.0, 2.0)  # of power laws, the slowest first
_AS_GOOD = 1.05  # A residual this much above the least is no worse.
_ROUNDING = 1e-12  # Squares this small beside their sum are of float32's making.


class ExtrapolationState(NamedTuple):
    """State of `stop.extrapolation`."""

    values: RingState  # the last finite values
    seen: I32  # finite values so far; saturates
    best: BestState  # the best of them
    hopeless: I32  # updates in a row whose forecast was no improvement; saturates


@factory
def extrapolation(
    window: int = 20,
    updates: int = 5,
    *,
    monitor: str = "val_loss",
    mode: Mode = "min",
    atol: float = 0.0,
    rtol: float = 0.0,
    total_updates: int | None = None,
) -> Controller:
    """Stops once a fitted power law has not promised a new best for `updates` updates.

    In every update the curve

        x_t = a + b * t^-c

    is fitted by least squares to the last `window` finite values of `monitor`, where t
    counts them from the start of the run: a and b in closed form for each exponent c of
    1/8, 1/4, 1/2, 1 and 2, and of the fits whose squared residual is within 5 % of the
    least, the one with the smallest c, which promises most; late in a run, where the
    window shows a straight line, that is 1/8. The forecast is its value at t =
    `total_updates`, or its limit a. It is hopeless in min mode when

        forecast >= best - (atol + rtol * |best|)

    so when it is no improvement as `stop.patience` has it. In max mode values are
    negated. A rising curve forecasts a rise, so this stops for what patience stops for,
    only that a slow fall goes on and a fall that ebbs away does not. `stop` is up from
    the `updates`-th hopeless update in a row until one that is not. Before there are
    `window` values it does not stop. A NaN or infinite value is passed over: it is no
    update, and a run that stays broken is ended by `stop.nonfinite`.

    A forecast from noise is noise: smooth what varies more within the window than it
    falls. Curves that a schedule bends, as at the end of a cosine, are no power laws;
    start after the warmup and do not stop ahead of a decay.

    Args:
      window: Values to fit, >= 3.
      updates: Hopeless updates in a row before stopping, >= 1.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      atol: Smallest gain worth waiting for, >= 0, in units of the signal.
      rtol: Smallest gain relative to |best|, >= 0.
      total_updates: Updates in the whole run, >= 1, or None for no end.

    Returns:
      A controller that moves only `stop`. Gauges: `forecast` and `to_beat`, in units of
      the signal and infinite before there are enough values, and `patience_left` in
      updates.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> t = jnp.arange(1.0, 41.0)
      >>> losses = jnp.maximum(1 + t**-0.5, 1.2)
      >>> replay = octl.replay(octl.stop.extrapolation(10), {"val_loss": losses})
      >>> [round(float(replay.gauges["forecast"][t]), 3) for t in (20, 39)]
      [1.0, 1.2]
      >>> [bool(replay.decisions.stop[t]) for t in (20, 39)]
      [False, True]

    References:
      Domhan et al., `Speeding up Automatic Hyperparameter Optimization by Extrapolation
      of Learning Curves <https://www.ijcai.org/Proceedings/15/Papers/487.pdf>`_, 2015:
      eleven families of curves and a Monte Carlo posterior, where this is one family
      in closed form, so that it runs in every step.
    """
    who = "stop.extrapolation"
    checks.count(who, low=3, window=window)
    checks.count(who, updates=updates)
    if total_updates is not None:
        checks.count(who, total_updates=total_updates)
    limit = jnp.asarray(updates, jnp.int32)
    sign = jnp.float32(1 if mode == "min" else -1)
    test = improvement(who, mode=mode, atol=atol, rtol=rtol, nonfinite="ignore")
    kept = ring(window)
    ages = jnp.arange(1 - window, 1, dtype=jnp.float32)

    def forecast(state: ExtrapolationState) -> F32:
        # What a further value would be compared with is the window up to the last.
        values, valid = held(state.values)
        values = sign * values
        last = jnp.maximum(state.seen, window).astype(jnp.float32)
        away = values - values[-1]
        scale = jnp.maximum(jnp.max(jnp.abs(away)), jnp.finfo(jnp.float32).tiny)
        y = away / scale
        y_mean = jnp.mean(y)
        end = jnp.float32(jnp.inf if total_updates is None else total_updates)

        def fit(exponent: Any) -> tuple[Any, Any]:
            # (t / last)^-c - 1, which keeps its digits late in a run.
            curve = lambda log_t: jnp.expm1(-exponent * log_t)
            past = curve(jnp.log1p(ages / last))
            mean = jnp.mean(past)
            d = past - mean
            slope = jnp.sum(d * y) / jnp.sum(d * d)
            residual = jnp.sum((y - y_mean - slope * d) ** 2)
            future = curve(jnp.log(jnp.maximum(end / last, 1)))
            return residual, y_mean + slope * (future - mean)

        residuals, forecasts = jax.vmap(fit)(jnp.array(_EXPONENTS, jnp.float32))
        rounding = _ROUNDING * jnp.sum(y * y)
        good = residuals <= _AS_GOOD * jnp.min(residuals) + rounding
        found = values[-1] + scale * forecasts[jnp.argmax(good)]
        # Differences of values near the largest of float32 overflow.
        ready = valid[0] & ~jnp.isnan(found)
        return sign * jnp.where(ready, found, -jnp.inf)

    def init() -> ExtrapolationState:
        return ExtrapolationState(
            values=kept.init(),
            seen=jnp.zeros((), jnp.int32),
            best=test.init(),
            hopeless=jnp.zeros((), jnp.int32),
        )

    def update(
        signals: Signals, state: ExtrapolationState
    ) -> tuple[Decision, ExtrapolationState]:
        x = read(signals, monitor, who)
        ok = jnp.isfinite(x)
        new = ExtrapolationState(
            values=kept.update(x, state.values)[1],
            seen=jnp.where(ok, increment(state.seen), state.seen),
            best=test.update(x, state.best)[1],
            hopeless=state.hopeless,
        )
        bad = sign * forecast(new) >= sign * test.to_beat(new.best)
        hopeless = jnp.where(bad, increment(state.hopeless), 0)
        new = new._replace(hopeless=jnp.where(ok, hopeless, state.hopeless))
        stop = jnp.where(new.hopeless >= limit, int(StopReason.CANNOT_IMPROVE), 0)
        return decide(stop=stop), new

    def gauges(state: ExtrapolationState) -> dict[str, Any]:
        return {
            "forecast": forecast(state),
            "to_beat": test.to_beat(state.best),
            "patience_left": jnp.maximum(limit - state.hopeless, 0),
        }

    return Controller(init, update, frozenset({monitor}), gauges)
