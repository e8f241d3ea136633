"""Clip every tensor to its own recent gradient norm."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float32

from optaxctl._core import checks
from optaxctl._core.types import I32


class AdaGCState(NamedTuple):
    """State of `transforms.adagc`."""

    warm: I32  # warm-up steps done
    norms: Float32[Array, " leaves"]  # gamma: of each tensor; infinite before its first


def adagc(
    ratio: float = 1.04,
    *,
    decay: float = 0.99,
    warmup_steps: int = 100,
    max_norm: float = 1.0,
    eps: float = 1e-6,
) -> optax.GradientTransformation:
    """Clips the gradient of each tensor to `ratio` times its own running norm.

    With g_i the gradient of tensor i, n_i its norm in float32, and n that of all of
    them, the first `warmup_steps` steps clip them together and remember the smallest
    norm that was left,

        g_i = g_i * min(1, max_norm / (n + eps)),    gamma_i = min(gamma_i, |g_i|)

    and the steps after them clip each to its own,

        g_i = g_i * ratio * gamma_i / (n_i + eps)    if n_i > ratio * gamma_i
        gamma_i = decay * gamma_i + (1 - decay) * min(n_i, ratio * gamma_i)

    so gamma_i grows by at most (ratio - 1) * (1 - decay) a step, 0.04 % by default, and
    a norm that doubles for good is clipped for about 1,700 steps. A NaN or infinite n_i
    leaves gamma_i as it is and is left out of n; refusing such a step is the work of
    `guard`, around the optimizer.

    Args:
      ratio: How far above its running norm a tensor may go, > 1.
      decay: Weight of the past in the running norms, > 0 and < 1.
      warmup_steps: Steps that clip the global norm instead, >= 1.
      max_norm: The global norm to which they clip, > 0.
      eps: Added to a norm that is divided by, >= 0.

    Returns:
      An Optax transformation, to be put before the optimizer in `optax.chain`. Its
      state has two leaves, however many tensors there are.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.transforms.adagc(1.5, warmup_steps=1, max_norm=10.0)
      >>> params = {"a": jnp.ones(1), "b": jnp.ones(1)}
      >>> state = tx.init(params)
      >>> for size in (1.0, 9.0):
      ...     grads = {"a": jnp.array([size]), "b": jnp.array([1.0])}
      ...     updates, state = tx.update(grads, state, params)
      >>> round(float(updates["a"][0]), 3), float(updates["b"][0])
      (1.5, 1.0)

    References:
      Wang et al., `AdaGC <https://arxiv.org/abs/2502.11034>`_, 2025; names there:
      `lambda_rel`, `beta`, `lambda_abs`. There one NaN ends the clipping of its tensor.
    """
    who = "transforms.adagc"
    checks.above(1, who, ratio=ratio)
    checks.between(0, 1, who, decay=decay)
    checks.count(who, warmup_steps=warmup_steps)
    checks.above(0, who, max_norm=max_norm)
    checks.at_least(0, who, eps=eps)

    def init(params: Any) -> AdaGCState:
        leaves = max(1, len(jax.tree.leaves(params)))
        return AdaGCState(
            jnp.zeros((), jnp.int32), jnp.full((leaves,), jnp.inf, jnp.float32)
        )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        del params
        leaves, tree = jax.tree.flatten(updates)
        if not leaves:
            return updates, state
        sizes = [jnp.abs(g).astype(jnp.float32) for g in leaves]
        squares = jnp.stack([jnp.sum(size * size) for size in sizes])
        norms, finite = jnp.sqrt(squares), jnp.isfinite(squares)
        whole = jnp.sqrt(jnp.sum(jnp.where(finite, squares, 0)))
        warming = state.warm < warmup_steps
        together = jnp.minimum(1, max_norm / (whole + eps))
        limits = ratio * state.norms
        apart = jnp.where(norms > limits, limits / (norms + eps), 1)
        scales = jnp.where(warming, together, apart)

        least = jnp.minimum(state.norms, norms * together)
        mean = decay * state.norms + (1 - decay) * jnp.minimum(norms, limits)
        moved = jnp.where(warming, least, mean)
        kept = jnp.where(finite, moved, state.norms)
        clipped = [g * s.astype(g.dtype) for g, s in zip(leaves, scales, strict=True)]
        warm = jnp.minimum(state.warm + 1, warmup_steps)
        return jax.tree.unflatten(tree, clipped), AdaGCState(warm, kept)

    return optax.GradientTransformation(init, update)
