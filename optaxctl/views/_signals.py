"""Which scalars a step offers to the controllers, and under which names."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl._core.types import F32

COMPUTED = frozenset({"step", "accepted", "grad_norm", "learning_rate"})
"""Names that a view measures itself and nobody else may hand over."""

TOLD = frozenset({"refused", "rewind", "stop", "alarms", "lr_scale", "clip_norm"})
TOLD |= {"clipped"}
"""Names under which a row tells what a step did, so no signal can have them."""


def gradient_norm(updates: Any, axis_name: str | None = None) -> F32:
    """Returns the global 2-norm, accumulated in float32 whatever the precision.

    Inside `shard_map`, a leaf that differs between the devices of `axis_name` is one
    shard of a larger one, so its squares are summed over the axis too.
    """
    total = jnp.zeros((), jnp.float32)
    for leaf in jax.tree.leaves(updates):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            x = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
            squares = jnp.sum(jnp.real(x * jnp.conj(x))).astype(jnp.float32)
            varies = axis_name is not None and axis_name in varying(squares)
            total += jax.lax.psum(squares, axis_name) if varies else squares
    _same_everywhere("grad_norm", total)
    # The slope of the root at 0 is infinite, and infinity times nothing is NaN.
    return jnp.sqrt(jnp.where(total == 0, 0, total))


def handed_over(extra: Mapping[str, Any], axis_name: str | None) -> dict[str, Any]:
    """Returns the scalars among the extra arguments of `update`, by signal name.

    `value` is the signal `loss`, as Optax names it. Arguments that are no numbers, such
    as the functions a line search takes, are not signals.
    """
    if "value" in extra and "loss" in extra:
        raise TypeError(
            "`update` got both `value=` and `loss=`, which are the same signal. Pass "
            "the loss once, as `value=`."
        )
    if taken := sorted(COMPUTED & extra.keys()):
        raise TypeError(
            f"`update` got `{taken[0]}=`, which is measured here. Give your own "
            "quantity another name."
        )
    numbers = {
        "loss" if name == "value" else name: value
        for name, value in extra.items()
        if _is_number(value)
    }
    # An array is no signal; it stays here so that who reads it can name its shape.
    return {
        n: value if np.ndim(value) else _reduced(n, value, axis_name)
        for n, value in numbers.items()
    }


def _reduced(name: str, value: Any, axis_name: str | None) -> Any:
    # A decision is a constant of the step: nothing is differentiated through it.
    value = jax.lax.stop_gradient(jnp.asarray(value, jnp.float32))
    if axis_name is not None:
        value = jax.lax.pmean(value, axis_name)
    _same_everywhere(name, value)
    return value


def _same_everywhere(name: str, value: Any) -> None:
    if axes := sorted(map(str, varying(value))):
        raise TypeError(
            f"The signal `{name}` differs between the devices of mesh axis "
            f"{', '.join(axes)}, so they would decide differently. Reduce it with "
            f"`jax.lax.pmean`, or pass `control(..., axis_name={axes[0]!r})`."
        )


def varying(value: Any) -> frozenset[Any]:
    """Returns the axes of `shard_map` along which devices hold different values."""
    return jax.typeof(value).manual_axis_type.varying


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, int, float)):
        return True
    is_array = isinstance(value, (jax.Array, np.ndarray, np.generic))
    if not is_array:
        return False
    real = not jnp.issubdtype(value.dtype, np.complexfloating)
    return value.dtype == bool or (real and jnp.issubdtype(value.dtype, np.number))
