"""Slow an Adam-like optimizer down where its second moment lags the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float32

from optaxctl._core import checks
from optaxctl._core.types import F32


class ClipUpdateRmsState(NamedTuple):
    """State of `transforms.clip_update_rms`."""

    weight: F32  # of the gradients so far in nu: 1 - b2^t
    rms: Float32[Array, " leaves"]  # the last finite RMS of each tensor
    inner: Any


def clip_update_rms(
    inner: optax.GradientTransformation, threshold: float = 1.0, *, eps: float = 1e-8
) -> optax.GradientTransformationExtraArgs:
    """Divides the update of each tensor by how far its second moment lags behind.

    With g the gradient of a tensor and v the second moment of `inner` after this step,
    free of the bias of its start,

        rms = sqrt(mean(g^2 / max(v, eps^2))),    u = u / max(1, rms / threshold)

    tensor by tensor and in float32. Adam's step assumes that v is the mean of g^2, so
    that rms is about 1; when gradients grow faster than v follows, as they do before
    many loss spikes, its step is too large by about rms. A tensor without elements has
    none. A NaN or infinity in a gradient reaches the update of its own tensor only, and
    the state of `inner`: refusing such a step is the work of `guard`, around the
    optimizer.

    Put it around everything whose rate is to fall:

        octl.transforms.clip_update_rms(
            optax.chain(optax.scale_by_adam(b2=0.99), optax.add_decayed_weights(0.1))
        )

    slows the decay of weights too, as StableAdamW does.

    Args:
      inner: A transformation with one second moment `nu` in its state, such as
        `optax.scale_by_adam` or a chain with it. It must update a scalar as it updates
        a tensor.
      threshold: The rms that is still as it should be, > 0.
      eps: Least root of v, > 0.

    Returns:
      An Optax transformation, to be put before the learning rate in `optax.chain`. Its
      state keeps the rms of each tensor, in the order of `jax.tree.leaves`: above
      `threshold` the tensor was slowed down.

    Raises:
      ValueError: If an argument is out of range; at `init`, if `inner` keeps no `nu`.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.transforms.clip_update_rms(optax.scale_by_adam())
      >>> params = jnp.ones(2)
      >>> state = tx.init(params)
      >>> for scale in (1.0, 1.0, 1.0, 100.0):
      ...     updates, state = tx.update(jnp.full(2, scale), state, params)
      >>> round(float(state.rms[0]), 2)
      2.0

    References:
      Wortsman et al., `Stable and low-precision training for large-scale
      vision-language models <https://arxiv.org/abs/2304.13013>`_, 2023: StableAdamW,
      with the default threshold. `optax.clip_by_block_rms`, as in Adafactor, bounds the
      RMS of the update instead.
    """
    who = "transforms.clip_update_rms"
    checks.above(0, who, threshold=threshold, eps=eps)
    wrapped = optax.with_extra_args_support(inner)
    least = jnp.asarray(eps, jnp.float32) ** 2
    most = jnp.asarray(threshold, jnp.float32)

    def init(params: Any) -> ClipUpdateRmsState:
        state = wrapped.init(params)
        if optax.tree.get(state, "nu") is None:
            raise ValueError(
                f"`{who}(inner=...)` must keep a second moment `nu` in its state, as "
                "`optax.scale_by_adam` does."
            )
        leaves = max(1, len(jax.tree.leaves(params)))
        return ClipUpdateRmsState(
            jnp.zeros((), jnp.float32), jnp.zeros((leaves,), jnp.float32), state
        )

    def enters(updates: Any, params: Any, extra: Any) -> F32:
        """Returns the weight 1 - b2 with which a gradient enters nu.

        `inner` does not tell b2, but from nothing a gradient of 1 gives that. It is a
        constant of the program, unless b2 is none.
        """
        ones = jax.tree.map(lambda g: jnp.ones((), jnp.float32), updates)
        given = None if params is None else ones
        _, state = wrapped.update(ones, wrapped.init(ones), given, **extra)
        return jax.tree.leaves(optax.tree.get(state, "nu"))[0]

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        out, new = wrapped.update(updates, state.inner, params, **extra)
        leaves, tree = jax.tree.flatten(updates)
        if not leaves:
            return out, state._replace(inner=new)
        share = enters(updates, params, extra)
        weight = state.weight + share * (1 - state.weight)
        second = tree.flatten_up_to(optax.tree.get(new, "nu"))
        pairs = zip(leaves, second, strict=True)
        rms = jnp.stack([_rms(g, jnp.real(v) / weight, least) for g, v in pairs])
        scales = 1 / jnp.maximum(1, rms / most)
        slowed = [
            (u * s).astype(u.dtype)
            for u, s in zip(tree.flatten_up_to(out), scales, strict=True)
        ]
        kept = jnp.where(jnp.isfinite(rms), rms, state.rms)
        return tree.unflatten(slowed), ClipUpdateRmsState(weight, kept, new)

    return optax.GradientTransformationExtraArgs(init, update)


def _rms(g: Array, v: Array, least: F32) -> F32:
    # Divided before it is squared: the square of a finite gradient may overflow.
    root = jnp.sqrt(jnp.maximum(v, least))
    ratio = jnp.abs(g).astype(jnp.float32) / root
    return jnp.sqrt(jnp.sum(ratio * ratio) / max(1, ratio.size))
