"""Clip a gradient norm that is far above the mean of the last ones."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.statistics import RingState, ring, spread
from optaxctl._core.types import F32


class HistoryState(NamedTuple):
    """State of `clip.history`."""

    norms: RingState  # the last finite norms, before clipping
    limit: F32  # the limit of the last update, for the gauge


@factory
def history(
    deviations: float = 3.0,
    *,
    window: int = 128,
    min_updates: int = 64,
    max_norm: float = float("inf"),
    eps: float = 1e-6,
) -> Controller:
    """Limits the gradient norm to so many deviations above the mean of the last norms.

    With mu and sigma the mean and the standard deviation of the last `window` finite
    norms before this one,

        limit = min(mu + deviations * max(sigma, eps), max_norm)

    and `max_norm` alone before there are `min_updates` of them. Norms are remembered as
    they were before clipping, so a spike lifts the limit for `window` updates. A NaN or
    infinite norm is not remembered, and gets the limit `max_norm`: refusing it is the
    work of `guard`.

    Args:
      deviations: How far above the mean the limit lies, > 0.
      window: How many norms to keep, >= 2.
      min_updates: Norms to wait for before clipping, >= 1 and <= `window`.
      max_norm: A limit that always holds, > 0.
      eps: Least standard deviation, >= 0, in units of the norm.

    Returns:
      A controller that moves only `clip_norm`. It reads `grad_norm`, before clipping.
      Gauge: `limit`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> clip = octl.clip.history(2.0, window=8, min_updates=2)
      >>> state = clip.init()
      >>> for norm in (1.0, 3.0, 9.0):
      ...     decision, state = clip.update({"grad_norm": norm}, state)
      >>> float(decision.clip_norm)
      4.0

    References:
      Levanter's `clip_update_by_historical_norm`, in which one NaN ends the clipping
      for `window` updates.
    """
    who = "clip.history"
    checks.above(0, who, deviations=deviations)
    checks.count(who, low=2, window=window)
    checks.count(who, min_updates=min_updates)
    checks.require(
        min_updates <= window, who, "min_updates", min_updates, f"<= window = {window}"
    )
    checks.require(max_norm > 0, who, "max_norm", max_norm, "> 0")
    checks.at_least(0, who, eps=eps)
    kept = ring(window)
    cap = jnp.asarray(max_norm, jnp.float32)

    def init() -> HistoryState:
        return HistoryState(kept.init(), jnp.full((), jnp.inf, jnp.float32))

    def update(signals: Signals, state: HistoryState) -> tuple[Decision, HistoryState]:
        norm = read(signals, "grad_norm", who)
        last, norms = kept.update(norm, state.norms)
        usual = spread(last)
        std = jnp.maximum(usual.std, eps)
        bound = usual.mean + jnp.asarray(deviations, jnp.float32) * std
        ready = jnp.isfinite(norm) & (usual.seen >= min_updates)
        limit = jnp.minimum(jnp.where(ready, bound, jnp.inf), cap)
        return decide(clip_norm=limit), HistoryState(norms, limit)

    def gauges(state: HistoryState) -> dict[str, Any]:
        return {"limit": state.limit}

    return Controller(init, update, frozenset({"grad_norm"}), gauges)
