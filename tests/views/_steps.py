"""A small problem and jitted steps on it, shared by the tests of the views."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxctl as octl

PARAMS = {
    "w": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3),
    "b": jnp.array([0.0, -0.0, 1.0]),
    "s": jnp.float32(0.7),
}


def gradients(index: int, like: Any = PARAMS) -> Any:
    """Returns the gradients of step `index`, of norm about 4."""
    key = jax.random.fold_in(jax.random.key(0), index)
    return jax.tree.map(lambda p: jax.random.normal(key, p.shape, p.dtype), like)


def broken(value: float = float("nan"), like: Any = PARAMS) -> Any:
    """Returns gradients that are `value` throughout."""
    return jax.tree.map(lambda p: jnp.full(p.shape, value, p.dtype), like)


def stepper(tx: optax.GradientTransformation) -> Callable[..., tuple[Any, Any]]:
    """Returns `step(grads, state, params, **extra) -> (params, state)`, jitted."""
    full = optax.with_extra_args_support(tx)

    @jax.jit
    def step(grads: Any, state: Any, params: Any, **extra: Any) -> tuple[Any, Any]:
        updates, state = full.update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    return step


def bits(tree: Any) -> list[bytes]:
    """Returns every leaf to the last bit, the sign of zero included."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def one(**fields: Any) -> octl.Controller:
    """Returns a controller that always decides the same."""
    return octl.Controller(
        init=lambda: (),
        update=lambda signals, state: (octl.decide(**fields), state),
        signals=frozenset(),
        gauges=lambda state: {},
    )


def scripted(**fields: str) -> octl.Controller:
    """Returns a controller whose decision is a signal: `scripted(skip="refuse")`."""
    return octl.Controller(
        init=lambda: (),
        update=lambda signals, state: (
            octl.decide(**{f: signals[name] for f, name in fields.items()}),
            state,
        ),
        signals=frozenset(fields.values()),
        gauges=lambda state: {},
    )
