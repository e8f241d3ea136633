"""Raise the learning rate while a signal improves, and lower it while it does not."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.adjustment import AdjustmentState, adjustment
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.improvement import BestState, improvement
from optaxctl._core.statistics import RingState, ring, spread
from optaxctl._core.types import I32, Mode, Nonfinite


class GreedyState(NamedTuple):
    """State of `lr.greedy`."""

    values: RingState  # the last finite values, whose mean is judged
    best: BestState  # the best mean, and updates in a row without a better one
    good: I32  # updates in a row that were better
    floored: I32  # cuts in a row that ended at the floor
    adjustment: AdjustmentState  # the scale in force and its limits


@factory
def greedy(
    updates: int = 11,
    *,
    factor: float = 0.95,
    monitor: str = "loss",
    mode: Mode = "min",
    atol: float = 1e-6,
    rtol: float = 0.0,
    window: int = 1,
    cooldown: int = 0,
    warmup: int = 0,
    floor: float = 0.01,
    ceil: float = 10.0,
    restart_after: int | None = 500,
    max_adjustments: int | None = None,
    nonfinite: Nonfinite = "ignore",
) -> Controller:
    """Divides the rate by `factor` after a run of gains, and multiplies after misses.

    With m_t the mean of the last `window` finite values of `monitor` and b the best
    mean so far, an update is good in min mode when

        m_t < b - (atol + rtol * |b|)

    strictly, and bad otherwise; the first is good. `updates` good ones in a row divide
    the scale by `factor`, `updates` bad ones multiply it, within `floor` and `ceil`,
    and the count starts again. The next `cooldown` updates after a cut, and `warmup`
    after a raise, are passed over altogether. After `restart_after` cuts in a row that
    left the scale at `floor` everything but the number of adjustments is forgotten, and
    the scale is 1 again. A wish that a bound refuses changes nothing and costs nothing.

    A raise needs many gains over the best of the run, which a noisy loss seldom gives:
    smooth it with `window`.

    Args:
      updates: Updates in a row before a change, >= 1. Transformers' `patience=n` is
        `updates=n + 1` here.
      factor: The factor of one cut, > 0 and < 1.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      atol: Smallest gain that counts, >= 0, in units of the signal.
      rtol: Smallest gain relative to |best|, >= 0.
      window: Values whose mean is judged, >= 1.
      cooldown: Updates to pass over after a cut, >= 0.
      warmup: Updates to pass over after a raise, >= 0.
      floor: Lower bound of the product of all changes, in [0, 1].
      ceil: Upper bound of it, >= 1.
      restart_after: Cuts in a row at the floor before starting over, >= 1; None never.
      max_adjustments: Most changes in a run, >= 1, or None for no limit.
      nonfinite: Whether a non-finite value counts as a bad update ("count") or is
        passed over ("ignore"). It never enters the mean.

    Returns:
      A controller that moves only `lr_scale`. Gauges: `scale`, `adjustments`, `good`
      and `bad` in updates, `to_beat` in units of the signal.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> rate = octl.lr.greedy(2, factor=0.5)
      >>> state = rate.init()
      >>> for loss in (4.0, 3.0, 3.0, 3.0):
      ...     decision, state = rate.update({"loss": loss}, state)
      ...     print(float(decision.lr_scale))
      1.0
      2.0
      2.0
      1.0

    References:
      `GreedyLR <https://arxiv.org/abs/2512.14527>`_, 2025, and Transformers'
      `GreedyLR`. Its bounds are absolute rates, by default 0.001 and 1, so that from an
      Adam-scale rate it can only rise; here they are relative to the rate it starts
      from. Its relative margin has the wrong sign for negative values.
    """
    who = "lr.greedy"
    checks.count(who, updates=updates, window=window)
    checks.between(0, 1, who, factor=factor)
    if restart_after is not None:
        checks.count(who, restart_after=restart_after)
    limit = jnp.asarray(updates, jnp.int32)
    down = jnp.asarray(factor, jnp.float32)
    test = improvement(who, mode=mode, atol=atol, rtol=rtol, nonfinite=nonfinite)
    kept = ring(window)
    adjust = adjustment(
        who,
        floor=floor,
        ceil=ceil,
        cooldown=cooldown,
        warmup=warmup,
        max_adjustments=max_adjustments,
    )

    def init() -> GreedyState:
        zero = jnp.zeros((), jnp.int32)
        return GreedyState(kept.init(), test.init(), zero, zero + 0, adjust.init())

    def update(signals: Signals, state: GreedyState) -> tuple[Decision, GreedyState]:
        x = read(signals, monitor, who)
        _, values = kept.update(x, state.values)
        mean = spread(kept.update(x, values)[0]).mean
        ready = adjust.ready(state.adjustment)
        improved, best = test.update(jnp.where(jnp.isfinite(x), mean, x), state.best)
        counted = jnp.isfinite(x) | (nonfinite == "count")
        good = jnp.where(improved, increment(state.good), 0)
        good = jnp.where(ready, jnp.where(counted, good, state.good), 0)
        bad = jnp.where(ready, best.stale, 0)
        raises, cuts = good >= limit, bad >= limit
        wish = jnp.where(raises, 1 / down, jnp.where(cuts, down, 1))
        moved = adjust.update(wish, state.adjustment)

        at_floor = cuts & (moved.scale <= jnp.asarray(floor, jnp.float32))
        floored = jnp.where(at_floor, increment(state.floored), state.floored)
        floored = jnp.where(raises, 0, floored)
        new = GreedyState(
            values,
            BestState(
                best=jnp.where(ready, best.best, state.best.best),
                seen=jnp.where(ready, best.seen, state.best.seen),
                stale=jnp.where(cuts, 0, bad),
            ),
            jnp.where(raises, 0, good),
            floored,
            moved,
        )
        if restart_after is not None:
            fresh = init()
            fresh = fresh._replace(
                adjustment=fresh.adjustment._replace(made=moved.made)
            )
            over = floored >= jnp.asarray(restart_after, jnp.int32)
            new = jax.tree.map(lambda a, b: jnp.where(over, a, b), fresh, new)
        return decide(lr_scale=new.adjustment.scale), new

    def gauges(state: GreedyState) -> dict[str, Any]:
        return {
            "scale": state.adjustment.scale,
            "adjustments": state.adjustment.made,
            "good": state.good,
            "bad": state.best.stale,
            "to_beat": test.to_beat(state.best),
        }

    return Controller(init, update, frozenset({monitor}), gauges)
