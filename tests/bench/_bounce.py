"""ABEL's rule, which cuts the rate when the norm of the weights bounces."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class BounceState(NamedTuple):
    """Mean squared norms of the last windows, and what followed from them."""

    made: jax.Array
    total: jax.Array
    last: jax.Array
    before: jax.Array
    reached: jax.Array  # whether the norm has turned since the last cut
    scale: jax.Array


def bounce(every: int = 10, factor: float = 0.3) -> optax.GradientTransformation:
    """Cuts the rate at every second turn of the mean squared norm of the weights.

    Lewkowycz, `How to decay your learning rate <https://arxiv.org/abs/2103.12682>`_,
    2021, without its last cut at 85 % of the run, which is a schedule.
    """

    def init(params: Any) -> BounceState:
        del params
        zero = jnp.zeros(())
        no = jnp.zeros((), jnp.bool_)
        return BounceState(jnp.zeros((), jnp.int32), zero, zero, zero, no, jnp.ones(()))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        made = state.made + 1
        total = state.total + optax.global_norm(params) ** 2
        due, mean = made % every == 0, total / every
        turns = (mean - state.last) * (state.last - state.before) < 0
        turns &= due & (made >= 3 * every)
        scale = jnp.where(turns & state.reached, factor * state.scale, state.scale)
        new = BounceState(
            made=made,
            total=jnp.where(due, 0, total),
            last=jnp.where(due, mean, state.last),
            before=jnp.where(due, state.last, state.before),
            reached=state.reached ^ turns,
            scale=scale,
        )
        return jax.tree.map(lambda u: scale * u, updates), new

    return optax.GradientTransformation(init, update)
