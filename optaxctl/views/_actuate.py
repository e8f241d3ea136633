"""Carry out orders in an optimizer, and refuse a step without a trace."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxctl._core.types import F32, Flag
from optaxctl.views._inject import Injected
from optaxctl.views._measure import Orders


def freeze(
    injected: Injected,
    orders: Orders,
    updates: Any,
    state: Any,
    params: Any,
    extra: Mapping[str, Any],
) -> tuple[Any, Any]:
    """Updates an optimizer whose own coefficients can freeze it.

    No branch and no select over moments: with b = 1 and a gradient of -0.0 an
    exponential average is its old self bit for bit, and the gradient's `where` fuses
    into the optimizer's arithmetic. -0.0, because adding +0.0 turns -0.0 into +0.0.
    """
    ok = _settled(orders.ok)
    tx = injected.build(orders.hyperparams, ok)
    grads = jax.tree.map(lambda g: jnp.where(ok, _scale(g, orders.clip), -0.0), updates)
    moved, new = tx.update(grads, state, params, **extra)
    moved = jax.tree.map(lambda u: jnp.where(ok, _scale(u, orders.scale), -0.0), moved)
    moved = _narrow(moved, updates, params)
    return moved, jax.tree.map(lambda n, o: _keep(ok, n, o), new, state)


def gate(
    tx: optax.GradientTransformationExtraArgs,
    orders: Orders,
    updates: Any,
    state: Any,
    params: Any,
    extra: Mapping[str, Any],
    *,
    apply: bool,
) -> tuple[Any, Any]:
    """Updates, and with `apply` applies, any optimizer behind a branch.

    Returns the updates, or the parameters with `apply`, and the new state. Applying
    inside the branch keeps the updates from being written to memory.
    """

    def move(updates: Any, state: Any, params: Any) -> Any:
        grads = jax.tree.map(lambda g: _scale(g, orders.clip), updates)
        moved, new = tx.update(grads, state, params, **extra)
        moved = jax.tree.map(lambda u: _scale(u, orders.scale), moved)
        if orders.hyperparams:
            moved = _narrow(moved, updates, params)
        out = optax.apply_updates(params, moved) if apply else moved
        return out, jax.tree.map(_cast, new, state)

    move = jax.jit(move, inline=True)  # Traced once, for its shapes and its branch.
    operands = (updates, state, params)
    shapes = params if apply else jax.eval_shape(move, *operands)[0]

    def keep(updates: Any, state: Any, params: Any) -> Any:
        if apply:
            return params, state
        # Like the updates, and so sharded as they are.
        still = jax.tree.map(
            lambda u, s: jnp.full_like(u, -0.0, dtype=s.dtype), updates, shapes
        )
        return still, state

    def branch(*operands: Any) -> Any:
        # In this order: with the branches swapped, jaxlib 0.10 copies every leaf.
        return jax.lax.cond(orders.ok, move, keep, *operands)

    def select(*operands: Any) -> Any:
        new, old = move(*operands), keep(*operands)
        return jax.tree.map(lambda n, o: jnp.where(orders.ok, n, o), new, old)

    # On a GPU a branch would send its predicate to the host and wait.
    return jax.lax.platform_dependent(
        *operands, cuda=select, rocm=select, default=branch
    )


def _settled(ok: Flag) -> Flag:
    """Keeps the CPU's compiler from copying the whole decision into every kernel.

    XLA fuses scalar arithmetic into each leaf's kernel that reads its result, and a
    branch is the one border it does not cross. With 148 leaves this is a seventh of
    the compile time.
    """
    branch = lambda ok: jax.lax.cond(ok, lambda: True, lambda: False)
    return jax.lax.platform_dependent(ok, cpu=branch, default=lambda ok: ok)


def _narrow(moved: Any, updates: Any, params: Any) -> Any:
    """Undoes the widening of updates by hyper-parameters, which are float32."""
    others = (updates,) if params is None else (updates, params)
    return jax.tree.map(lambda u, *xs: u.astype(jnp.result_type(*xs)), moved, *others)


def _scale(x: Any, factor: F32) -> Any:
    return x * factor.astype(x.dtype)


def _cast(new: Any, old: Any) -> Any:
    return jnp.asarray(new).astype(jnp.asarray(old).dtype)


def _keep(ok: Flag, new: Any, old: Any) -> Any:
    """Selects scalars such as counts; the moments were frozen by their coefficients."""
    new = _cast(new, old)
    return jnp.where(ok, new, old) if new.ndim == 0 else new
