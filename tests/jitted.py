"""Compiled functions whose results a reference reads one by one."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax


def jitted(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` that gives NumPy arrays: an element of JAX's own costs a program."""
    compiled = jax.jit(function, **options)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return jax.device_get(compiled(*args, **kwargs))

    return run
