"""Clip a gradient norm to a quantile of the norms before it."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.statistics import Statistic, Window, quantile as streaming, ring
from optaxctl._core.types import F32


class QuantileState(NamedTuple):
    """State of `clip.quantile`."""

    norms: Any  # the last norms, or what a streaming estimate keeps of all of them
    limit: F32  # the limit of the last update, for the gauge


@factory
def quantile(
    level: float = 0.9,
    *,
    window: int | None = 1000,
    current: bool = False,
    max_norm: float = float("inf"),
) -> Controller:
    """Limits the gradient norm to a quantile of its own past.

    With h the last `window` finite norms before this one, and this one with `current`,

        limit = min(quantile(h, level), max_norm)

    where the quantile lies on the straight line between the two norms next to it. With
    nothing in h the limit is `max_norm`. Norms enter h as they were before clipping. A
    NaN or infinite norm does not, and gets the limit `max_norm`: refusing it is the
    work of `guard`.

    With `window=None` the quantile is that of all norms, estimated by a step of 5 % up
    or down for each, in two numbers instead of a window.

    At 0.9 about a tenth of all steps is clipped, healthy or not; and while the norm
    falls, a long window clips less and less.

    Args:
      level: The share of norms that lie below the limit, > 0 and < 1.
      window: How many norms to keep, >= 1, or None for an estimate from all of them.
      current: Whether the norm that is to be clipped counts, too.
      max_norm: A limit that always holds, > 0.

    Returns:
      A controller that moves only `clip_norm`. It reads `grad_norm`, before clipping.
      Gauge: `limit`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> clip = octl.clip.quantile(0.5, window=3)
      >>> state = clip.init()
      >>> for norm in (1.0, 2.0, 3.0, 9.0):
      ...     decision, state = clip.update({"grad_norm": norm}, state)
      ...     print(float(decision.clip_norm))
      inf
      1.0
      1.5
      2.0

    References:
      Seetharaman et al., `AutoClip <https://arxiv.org/abs/2007.14469>`_, 2020, with
      `level=0.1, current=True` and a window longer than the run. PyPI's `autoclip` has
      the default window as its `QuantileClip`. In both one NaN makes gradients NaN for
      as long as it is remembered.
    """
    who = "clip.quantile"
    checks.between(0, 1, who, level=level)
    if window is not None:
        checks.count(who, window=window)
    checks.require(max_norm > 0, who, "max_norm", max_norm, "> 0")
    estimate = _of_window(level, window) if window else _of_all(level)
    cap = jnp.asarray(max_norm, jnp.float32)

    def init() -> QuantileState:
        return QuantileState(estimate.init(), jnp.full((), jnp.inf, jnp.float32))

    def update(
        signals: Signals, state: QuantileState
    ) -> tuple[Decision, QuantileState]:
        norm = read(signals, "grad_norm", who)
        before, norms = estimate.update(norm, state.norms)
        # An estimate describes what came before, and so the next one this norm too.
        bound = estimate.update(norm, norms)[0] if current else before
        limit = jnp.minimum(jnp.where(jnp.isfinite(norm), bound, jnp.inf), cap)
        return decide(clip_norm=limit), QuantileState(norms, limit)

    return Controller(
        init, update, frozenset({"grad_norm"}), lambda state: {"limit": state.limit}
    )


def _of_window(level: float, window: int) -> Statistic:
    kept = ring(window)

    def update(norm: F32, state: Any) -> tuple[F32, Any]:
        before, after = kept.update(norm, state)
        return _interpolated(level, before), after

    return Statistic(kept.init, update)


def _interpolated(level: float, window: Window) -> F32:
    values = jnp.sort(jnp.where(window.valid, window.values, jnp.inf))
    last = jnp.sum(window.valid) - 1
    place = jnp.asarray(level, jnp.float32) * jnp.maximum(last, 0).astype(jnp.float32)
    below = jnp.floor(place).astype(jnp.int32)
    low, high = values[below], values[jnp.minimum(below + 1, jnp.maximum(last, 0))]
    share = place - jnp.floor(place)
    return jnp.where(last < 0, jnp.inf, low + (high - low) * share)


def _of_all(level: float) -> Statistic:
    logarithm = streaming(level)

    def update(norm: F32, state: Any) -> tuple[F32, Any]:
        seen = state.seen
        tiny = jnp.finfo(jnp.float32).tiny
        before, after = logarithm.update(jnp.log(jnp.maximum(norm, tiny)), state)
        return jnp.where(seen, jnp.exp(before), jnp.inf), after

    return Statistic(logarithm.init, update)
