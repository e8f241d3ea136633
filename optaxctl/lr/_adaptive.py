"""Raise, lower or brake the learning rate by how the loss has moved of late."""

import enum
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.adjustment import AdjustmentState, adjustment
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.statistics import MomentsState, RingState, held, moments, ring
from optaxctl._core.types import F32, I32, Mode
from optaxctl.lr._trend import Trend, trend

_PRIOR_VAR = 0.05  # of the logarithm; of (x/x_0) on a linear scale
_STD_FLOOR = 0.01  # likewise: a change of 1 % is never a spike


class Change(enum.IntEnum):
    """What `lr.adaptive` did in an update: its gauge `decision`."""

    HOLD = 0
    INCREASE = 1
    DECREASE = 2
    SPIKE = 3


class AdaptiveState(NamedTuple):
    """State of `lr.adaptive`."""

    updates: I32  # updates so far; saturates
    filled: I32  # finite values since the warm-up, at most two windows
    phase: I32  # finite values in the window that is being filled
    stale: I32  # judgements in a row without improvement
    values: RingState  # the last two windows
    moments: MomentsState  # for spikes
    trend: Trend  # at the last judgement
    before: F32  # the scale before this update
    decision: I32  # a `Change`
    adjustment: AdjustmentState  # the scale in force and its limits


@factory
def adaptive(
    total_steps: int | None = None,
    *,
    monitor: str = "loss",
    mode: Mode = "min",
    scale: Literal["log", "linear"] = "log",
    window: int | None = None,
    sliding: bool = False,
    warmup: int | None = None,
    patience: int = 2,
    cooldown: int | None = None,
    increase: float = 1.1,
    decrease: float = 0.7,
    brake: float = 0.5,
    improving: float = 0.02,
    flat: float = 0.001,
    stable: float = 0.3,
    unstable: float = 0.5,
    spike: float = 6.0,
    max_change: float = 0.3,
    floor: float = 0.01,
    ceil: float = 20.0,
    min_rate: float = 0.0,
    max_rate: float = float("inf"),
    learning_rate: float | None = None,
    max_adjustments: int | None = None,
    nonfinite: Literal["brake", "ignore"] = "brake",
) -> Controller:
    """Moves the rate by the trend of two windows of the loss, and brakes at a spike.

    With y = log x (or x, by `scale`), and mean, slope and deviation about the
    regression line of the last `window` finite values,

        cv          = deviation / u
        improvement = (mean of the window before - mean) / u

    where u is 1 for logarithms, which are relative already, and |mean| otherwise. At
    the end of each window, or with `sliding` in every update:

        decrease   if cv > unstable, or at the `patience`-th judgement in a row with
                   improvement < flat
        increase   if improvement > improving and cv < stable
        hold       otherwise

    Before, and in every update, the brake: a value more than `spike` deviations above
    the running mean, the test of `watch.spike`, or a NaN or infinite one multiplies the
    scale by `brake`. The brake does not wait for a window, a cooldown or the warm-up,
    and may exceed `max_change`, which limits every other factor to 1 +- `max_change`.

    During the first `warmup` updates, those of a ramp in the schedule, nothing else is
    done and no window is filled. Two windows must be full before the first judgement.
    A NaN enters no statistic, and before the first finite value it does not brake; a
    spike enters cut to 6 deviations. A change that a bound refuses is none: it starts
    no cooldown and uses up no adjustment. On a log scale non-positive values are
    passed over.

    In `python -m tests.bench.lr_sensitivity` these rules alone are no cure for a wrong
    rate: the geometric mean over the sweep is 14, 4 and 2 % below the best baseline's,
    and at the best rate they are behind it. `lr.search` is the cure.

    Args:
      total_steps: Length of the run, for the defaults of `window` and `warmup`.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      scale: "log" for positive signals such as losses, "linear" for signed ones.
      window: Values per window, >= 2; min(50, total_steps // 20) by default.
      sliding: Judge in every update instead of once per window.
      warmup: Updates to ignore at the start, >= 0; total_steps // 10 by default.
      patience: Judgements without improvement before a decrease, >= 1.
      cooldown: Updates without another change but the brake, >= 0. By default
        `window` if sliding and 0 otherwise.
      increase: Factor of an increase, > 1.
      decrease: Factor of a decrease, > 0 and < 1.
      brake: Factor at a spike, > 0 and < 1.
      improving: Improvement above which to increase, >= 0.
      flat: Improvement below which a window is stale.
      stable: cv below which to increase, > 0.
      unstable: cv above which to decrease, > 0.
      spike: Deviations above which to brake, > 0.
      max_change: Largest change of one factor but the brake's, > 0.
      floor: Lower bound of the product of all changes, in [0, 1].
      ceil: Upper bound of it, >= 1.
      min_rate: Rate below which no change leads, >= 0. It and `max_rate` read the
        signal `learning_rate`, which `control` provides.
      max_rate: Rate above which no change leads, > `min_rate`.
      learning_rate: The rate to start from, to have it checked against these two; it
        decides nothing.
      max_adjustments: Most changes in a run, >= 1, or None for no limit.
      nonfinite: Whether a NaN or infinite value is a spike ("brake") or passed over
        ("ignore"), as where `guard` refuses the step and the data are to blame.

    Returns:
      A controller that moves only `lr_scale`. Gauges: `decision`, a `Change`; `scale`
      and `scale_before` this update; of the last judgement `window_mean`, `cv`, `slope`
      per update and `improvement`; `adjustments`.

    Raises:
      ValueError: If an argument is out of range, or neither `total_steps` nor `window`
        is given.

    Example:
      >>> import optax, optaxctl as octl
      >>> tx = octl.control(
      ...     octl.inject(optax.adam, learning_rate=3e-4),
      ...     octl.together(guard=octl.guard(), rate=octl.lr.adaptive(10_000)),
      ... )
      >>> careful = octl.lr.adaptive(10_000, **octl.lr.CONSERVATIVE)
      >>> experts = octl.lr.adaptive(10_000, **octl.lr.MOE)

    References:
      AI-OS' `AdaptiveLRScheduler`, whose keys are these. There the limit of a change
      undoes the brake, deviations count the trend as noise, and a NaN is skipped.
    """
    who = "lr.adaptive"
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.one_of(who, "scale", scale, ("log", "linear"))
    checks.one_of(who, "nonfinite", nonfinite, ("brake", "ignore"))
    if total_steps is not None:
        checks.count(who, total_steps=total_steps)
    elif window is None:
        raise ValueError(
            "`lr.adaptive` needs the length of the run, `total_steps`, or a `window`."
        )
    steps = total_steps or 0
    size = max(min(50, steps // 20), 2) if window is None else window
    start = steps // 10 if warmup is None else warmup
    rest = (size if sliding else 0) if cooldown is None else cooldown
    checks.count(who, low=2, window=size)
    checks.count(who, low=0, warmup=start)
    checks.count(who, patience=patience)
    checks.above(1, who, increase=increase)
    checks.between(0, 1, who, decrease=decrease, brake=brake)
    checks.at_least(0, who, improving=improving, min_rate=min_rate)
    checks.finite(who, flat=flat)
    checks.above(0, who, stable=stable, unstable=unstable, spike=spike)
    checks.require(max_rate > min_rate, who, "max_rate", max_rate, "> min_rate")
    if learning_rate is not None:
        checks.within(min_rate, max_rate, who, learning_rate=learning_rate)
    absolute = not (_is(min_rate, 0.0) and _is(max_rate, float("inf")))
    adjust = adjustment(
        who,
        floor=floor,
        ceil=ceil,
        cooldown=rest,
        warmup=rest,
        max_adjustments=max_adjustments,
        max_change=max_change,
    )
    logarithmic = scale == "log"
    sign = jnp.float32(1 if mode == "min" else -1)
    unit = lambda y: jnp.ones((), jnp.float32) if logarithmic else jnp.abs(y)
    kept = ring(2 * size)
    usual = moments(
        0.99,
        prior_var=lambda y: _PRIOR_VAR * unit(y) ** 2,
        floor=lambda mean: _STD_FLOOR * unit(mean),
    )

    def init() -> AdaptiveState:
        count = lambda: jnp.zeros((), jnp.int32)
        return AdaptiveState(
            updates=count(),
            filled=count(),
            phase=count(),
            stale=count(),
            values=kept.init(),
            moments=usual.init(),
            trend=Trend(*(jnp.zeros((), jnp.float32) for _ in Trend._fields)),
            before=jnp.ones((), jnp.float32),
            decision=count(),
            adjustment=adjust.init(),
        )

    def bounds(signals: Signals, scale: F32) -> dict[str, Any]:
        if not absolute:
            return {}
        rate = read(signals, "learning_rate", who)
        usable = jnp.isfinite(rate) & (rate > 0)
        rate = jnp.where(usable, rate, 1)
        low, high = (jnp.asarray(r, jnp.float32) / rate for r in (min_rate, max_rate))
        low = jnp.maximum(jnp.where(usable, low, scale), floor)
        high = jnp.minimum(jnp.where(usable, high, scale), ceil)
        return {"bounds": (low, high)}

    def update(signals: Signals, state: AdaptiveState) -> tuple[Decision, Any]:
        x = read(signals, monitor, who)
        y = sign * (jnp.log(x) if logarithmic else x)
        ok = jnp.isfinite(y)
        past, moments_ = usual.update(y, state.moments)
        z = (y - past.mean) / jnp.maximum(past.std, jnp.finfo(jnp.float32).tiny)
        known = past.seen > 0
        lost = ~jnp.isfinite(x) & (nonfinite == "brake")
        spiked = known & (lost | (ok & (z > spike)))

        live = ok & (state.updates >= jnp.asarray(start, jnp.int32))
        # Cut as in the moments, so that one spike is not the whole window.
        cut = jnp.where(known, 6 * past.std, jnp.inf)
        calm = jnp.clip(y, past.mean - cut, past.mean + cut)
        values = kept.update(jnp.where(live, calm, jnp.nan), state.values)[1]
        window = held(values)
        filled = jnp.where(live, jnp.minimum(state.filled + 1, 2 * size), state.filled)
        phase = jnp.where(live, (state.phase + 1) % size, state.phase)
        due = live & (filled >= 2 * size) & (sliding | (phase == 0))
        now = trend(window, unit)

        stale = jnp.where(now.improvement >= flat, 0, increment(state.stale))
        down = (now.cv > unstable) | (stale >= patience)
        up = (now.improvement > improving) & (now.cv < stable)
        wish = jnp.where(down, decrease, jnp.where(up, increase, 1.0))
        wish = jnp.where(spiked, brake, jnp.where(due, wish, 1.0))
        before = state.adjustment.scale
        moved = adjust.update(
            wish, state.adjustment, brake=spiked, **bounds(signals, before)
        )

        which = jnp.where(moved.scale > before, Change.INCREASE, Change.DECREASE)
        which = jnp.where(spiked, Change.SPIKE, which).astype(jnp.int32)
        counted = jnp.where(due, jnp.where(down, 0, stale), state.stale)
        new = AdaptiveState(
            updates=increment(state.updates),
            filled=filled,
            phase=phase,
            stale=counted,
            values=values,
            moments=moments_,
            trend=Trend(
                *(jnp.where(due, n, o) for n, o in zip(now, state.trend, strict=True))
            ),
            before=before,
            decision=jnp.where(moved.scale == before, int(Change.HOLD), which),
            adjustment=moved,
        )
        return decide(lr_scale=moved.scale), new

    def gauges(state: AdaptiveState) -> dict[str, Any]:
        last = state.trend
        mean = sign * last.mean
        return {
            "decision": state.decision,
            "scale": state.adjustment.scale,
            "scale_before": state.before,
            "window_mean": jnp.exp(mean) if logarithmic else mean,
            "cv": last.cv,
            "slope": sign * last.slope,
            "improvement": last.improvement,
            "adjustments": state.adjustment.made,
        }

    reads = {monitor} | ({"learning_rate"} if absolute else set())
    return Controller(init, update, frozenset(reads), gauges)


def _is(value: Any, number: float) -> bool:
    return isinstance(value, (int, float)) and value == number
