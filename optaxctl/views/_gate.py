"""Refuse a step of an optimizer that is known only from outside."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optaxctl._core.types import Flag


def gate(
    ok: Flag, update: Callable[..., Any], keep: Callable[..., Any], *operands: Any
) -> Any:
    """Returns `update(*operands)` where `ok`, else `keep(*operands)`.

    On CPU and TPU by `cond`, in this branch order: with the branches swapped, jaxlib
    0.10 copies every leaf. On a GPU a `cond` sends its predicate to the host, so there
    both sides are computed and selected.
    """

    def branch(*operands: Any) -> Any:
        return jax.lax.cond(ok, update, keep, *operands)

    def select(*operands: Any) -> Any:
        new, old = update(*operands), keep(*operands)
        return jax.tree.map(lambda n, o: jnp.where(ok, n, o), new, old)

    return jax.lax.platform_dependent(
        *operands, cuda=select, rocm=select, default=branch
    )
