"""Clip a gradient norm that stands out from its own recent past."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.types import F32, I32


class ZscoreState(NamedTuple):
    """State of `clip.zscore`."""

    mean: F32  # running mean of the norms, each cut to its limit
    var: F32  # their running variance
    seen: I32  # finite norms seen; saturates
    limit: F32  # the limit of the last update, for the gauge


@factory
def zscore(
    threshold: float = 2.5,
    *,
    decay: float = 0.97,
    warmup_updates: int = 25,
    limit: Literal["threshold", "adaptive", "mean"] = "threshold",
    limit_factor: float = 1.0,
    max_norm: float = float("inf"),
    eps: float = 1e-6,
) -> Controller:
    """Limits the gradient norm once its z-score exceeds `threshold`.

    With n the norm, mu and sigma the running mean and standard deviation of the
    norms before it, z = (n - mu)/(sigma + eps). For z > threshold the limit is, by
    `limit`,

        threshold:  mu + threshold * sigma
        adaptive:   limit_factor * (mu + threshold^2 * sigma / z)
        mean:       mu

    and otherwise there is none but `max_norm`. The adaptive limit falls as the spike
    grows. During the first `warmup_updates` finite norms only `max_norm` applies, and
    mu and sigma^2 are the sample moments; after them, with x = min(n, limit),

        mu = decay * mu + (1 - decay) * x
        sigma^2 = decay * sigma^2 + (1 - decay) * (x - mu)^2

    As x is the clipped norm, "threshold" follows a lasting rise within some tens of
    steps, while under the other two mu and sigma hardly move and a rise may be clipped
    for ever. A tie, z = threshold, is not clipped. A NaN or infinite norm leaves the
    statistics as they are and gets the limit `max_norm`: refusing it is the work of
    `guard`.

    Args:
      threshold: The z-score above which to clip, > 0.
      decay: Weight of the past in the running moments, > 0 and < 1.
      warmup_updates: Finite norms to learn from before clipping, >= 1.
      limit: What an outlier is clipped to.
      limit_factor: Factor of the adaptive limit, > 0.
      max_norm: A limit that always holds, > 0.
      eps: Added to sigma, >= 0, in units of the norm.

    Returns:
      A controller that moves only `clip_norm`. It reads `grad_norm`, before clipping.
      Gauges: `norm_mean`, `norm_std`, and `limit` (infinite when nothing is clipped).

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> clip = octl.clip.zscore(warmup_updates=3)
      >>> state = clip.init()
      >>> for norm in (1.0, 1.2, 0.8, 9.0):
      ...     decision, state = clip.update({"grad_norm": norm}, state)
      >>> round(float(decision.clip_norm), 3)
      1.408

    References:
      Kumar et al., `ZClip <https://arxiv.org/abs/2504.02507>`_, 2025; names there:
      `z_thresh`, `alpha`, `clip_option`, `mode="percentile"` (here
      `limit="threshold"`), `max_grad_norm`. Their default is `limit="adaptive"`, which
      a lasting rise of the norm latches. The default here has no hard limit where
      theirs is 1, and one NaN does not end the clipping, as it does there. Their
      `skip_update_on_spike` also keeps the spike out of the moments; here a spike
      enters them clipped, and `respond(watch.spike(monitor="grad_norm"), skip=True)`
      refuses it.
    """
    who = "clip.zscore"
    checks.above(0, who, threshold=threshold, limit_factor=limit_factor)
    checks.between(0, 1, who, decay=decay)
    checks.count(who, warmup_updates=warmup_updates)
    checks.one_of(who, "limit", limit, ("threshold", "adaptive", "mean"))
    checks.require(max_norm > 0, who, "max_norm", max_norm, "> 0")
    checks.at_least(0, who, eps=eps)
    keep = jnp.asarray(decay, jnp.float32)
    cap = jnp.asarray(max_norm, jnp.float32)
    deviations = jnp.asarray(threshold, jnp.float32)
    share = jnp.asarray(limit_factor, jnp.float32)

    def init() -> ZscoreState:
        return ZscoreState(
            mean=jnp.zeros((), jnp.float32),
            var=jnp.zeros((), jnp.float32),
            seen=jnp.zeros((), jnp.int32),
            limit=jnp.full((), jnp.inf, jnp.float32),
        )

    def outlier_limit(norm: F32, state: ZscoreState) -> F32:
        std = jnp.sqrt(state.var)
        z = (norm - state.mean) / (std + jnp.asarray(eps, jnp.float32))
        limits = {
            "threshold": state.mean + deviations * std,
            "adaptive": share * (state.mean + deviations**2 * std / z),
            "mean": state.mean,
        }
        outlier = (state.seen >= warmup_updates) & (z > deviations)
        return jnp.where(outlier, limits[limit], jnp.inf)

    def update(signals: Signals, state: ZscoreState) -> tuple[Decision, ZscoreState]:
        norm = read(signals, "grad_norm", who)
        finite = jnp.isfinite(norm)
        bound = jnp.where(finite, outlier_limit(norm, state), jnp.inf)
        x = jnp.where(finite, jnp.minimum(norm, bound), state.mean)

        n = state.seen.astype(jnp.float32)
        learning = state.seen < warmup_updates
        weight = jnp.where(learning, n / (n + 1), keep)
        mean = weight * state.mean + (1 - weight) * x
        # Sample moments need the deviation from both means, ZClip's from the new one.
        away = jnp.where(learning, x - state.mean, x - mean)
        var = weight * state.var + (1 - weight) * away * (x - mean)

        # The square of a finite norm may overflow.
        finite &= jnp.isfinite(mean) & jnp.isfinite(var)
        clip_norm = jnp.minimum(bound, cap)
        return decide(clip_norm=clip_norm), ZscoreState(
            mean=jnp.where(finite, mean, state.mean),
            var=jnp.where(finite, var, state.var),
            seen=jnp.where(finite, increment(state.seen), state.seen),
            limit=clip_norm,
        )

    def gauges(state: ZscoreState) -> dict[str, Any]:
        return {
            "norm_mean": state.mean,
            "norm_std": jnp.sqrt(state.var),
            "limit": state.limit,
        }

    return Controller(init, update, frozenset({"grad_norm"}), gauges)
