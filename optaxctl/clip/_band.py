"""Clip to a threshold that moves within bounds, by how often it clips."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.adjustment import AdjustmentState, adjustment
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.statistics import RingState, ring
from optaxctl._core.types import F32


class BandState(NamedTuple):
    """State of `clip.band`."""

    norms: RingState  # the last finite norms, before clipping
    adjustment: AdjustmentState  # the threshold as a multiple of the first one


@factory
def band(
    initial: float = 1.0,
    *,
    floor: float = 0.1,
    ceil: float = 10.0,
    factor: float = 1.2,
    updates: int = 50,
    window: int = 100,
    clip_rate: float = 0.1,
    slack: float = 0.2,
    max_adjustments: int | None = None,
) -> Controller:
    """Limits the gradient norm to a threshold that follows how often it clips.

    With c the threshold, h the last `window` finite norms, this one included, and r the
    share of h above c,

        c = min(c * factor, ceil)     if r > clip_rate
        c = max(c / factor, floor)    if r <= clip_rate and mean(h) < slack * c

    at most once in `updates` finite norms, the first time after as many. The limit is c
    as it then is. Norms enter h as they were before clipping. A NaN or infinite norm
    does not, changes nothing, and gets the limit c: refusing it is the work of `guard`.

    The bounds are in units of the norm, so they have to be known; `clip.auto` needs
    none.

    Args:
      initial: The first threshold, between `floor` and `ceil`.
      floor: The lowest threshold, > 0.
      ceil: The highest threshold.
      factor: By how much a change moves the threshold, > 1.
      updates: Finite norms between changes, >= 1.
      window: How many norms to keep, >= 1.
      clip_rate: The share of clipped steps above which the threshold rises, >= 0 and
        <= 1.
      slack: The share of the threshold below which a mean norm lowers it, >= 0 and
        <= 1.
      max_adjustments: Most changes in a run, >= 1, or None for no limit.

    Returns:
      A controller that moves only `clip_norm`. It reads `grad_norm`, before clipping.
      Gauges: `limit`, `clip_rate` (the share r) and `adjustments`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> clip = octl.clip.band(2.0, factor=1.5, updates=2)
      >>> state = clip.init()
      >>> for norm in (1.0, 4.0, 4.0, 4.0):
      ...     decision, state = clip.update({"grad_norm": norm}, state)
      ...     print(float(decision.clip_norm))
      2.0
      3.0
      3.0
      4.5

    References:
      `AdaptiveGradientClipping` of the traiNNer-redux automations; the keys of its
      guide: `initial_threshold`, `min_threshold`, `max_threshold`, `adjustment_factor`,
      `monitoring_frequency` (here `updates`), `gradient_history_size` (here `window`).
      Its code reads none of them. It also counts the clipped steps of the whole run, so
      a rough start raises the threshold for ever, and lets one norm near the threshold
      lift it to 1.1 times that norm.
    """
    who = "clip.band"
    checks.above(0, who, initial=initial, floor=floor, ceil=ceil)
    bounds = f"between floor = {floor} and ceil = {ceil}"
    inside = (initial >= floor) & (initial <= ceil)
    checks.require(inside, who, "initial", initial, bounds)
    checks.above(1, who, factor=factor)
    checks.count(who, updates=updates, window=window)
    checks.within(0, 1, who, clip_rate=clip_rate, slack=slack)
    start, low, high = (jnp.asarray(x, jnp.float32) for x in (initial, floor, ceil))
    up = jnp.asarray(factor, jnp.float32)
    kept = ring(window)
    adjust = adjustment(
        who,
        floor=floor / initial,
        ceil=ceil / initial,
        cooldown=updates - 1,
        warmup=updates - 1,
        max_adjustments=max_adjustments,
    )

    def threshold(state: AdjustmentState) -> F32:
        return jnp.clip(start * state.scale, low, high)

    def init() -> BandState:
        wait = jnp.asarray(updates - 1, jnp.int32)
        return BandState(kept.init(), adjust.init()._replace(quiet=wait))

    def share_above(limit: F32, norms: RingState) -> F32:
        above = jnp.sum(norms.values > limit, dtype=jnp.float32)
        return above / _filled(norms)

    def update(signals: Signals, state: BandState) -> tuple[Decision, BandState]:
        norm = read(signals, "grad_norm", who)
        _, norms = kept.update(norm, state.norms)
        limit = threshold(state.adjustment)
        mean = jnp.sum(norms.values / _filled(norms))
        tight = share_above(limit, norms) > clip_rate
        loose = mean < jnp.asarray(slack, jnp.float32) * limit
        wish = jnp.where(tight, up, jnp.where(loose, 1 / up, 1))
        moved = BandState(norms, adjust.update(wish, state.adjustment))
        new = jax.tree.map(
            lambda n, o: jnp.where(jnp.isfinite(norm), n, o), moved, state
        )
        return decide(clip_norm=threshold(new.adjustment)), new

    def gauges(state: BandState) -> dict[str, Any]:
        limit = threshold(state.adjustment)
        return {
            "limit": limit,
            "clip_rate": share_above(limit, state.norms),
            "adjustments": state.adjustment.made,
        }

    return Controller(init, update, frozenset({"grad_norm"}), gauges)


def _filled(norms: RingState) -> F32:
    return jnp.clip(norms.seen, 1, norms.values.size).astype(jnp.float32)
