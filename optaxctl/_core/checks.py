"""Argument checks with one message format, which let traced values through.

Numeric hyper-parameters may be traced, so that `vmap` over a factory sweeps policies.
Only concrete values can be checked; a traced one is taken on trust.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from optaxctl._core.closest import closest as closest, did_you_mean

_LAST = 2**31 - 1
_LARGEST = float(np.finfo(np.float32).max)


def require(ok: Any, who: str, argument: str, value: Any, constraint: str) -> None:
    """Raises a `ValueError` unless `ok`, which may be an array, is true throughout."""
    if isinstance(ok, Tracer) or np.all(ok):
        return
    raise ValueError(f"`{who}({argument}=...)` must be {constraint}, got {value}.")


def number(who: str, *, several: bool = False, **arguments: Any) -> None:
    """Requires every argument to be a real number, or with `several` an array."""
    for name, value in arguments.items():
        try:
            # A Python int may be too long for any array; it is a number all the same.
            kind = int if _is_int(value) else jnp.result_type(value)
            real = np.issubdtype(kind, np.integer) or jnp.issubdtype(kind, jnp.floating)
            ok = value is not None and real and (several or np.ndim(value) == 0)
        except (TypeError, ValueError):
            ok = False
        if not ok:
            raise ValueError(f"`{who}({name}=...)` must be a number, got {value!r}.")


def finite(who: str, **arguments: Any) -> None:
    """Requires every argument to be a finite number, in float32 too."""
    number(who, **arguments)
    for name, value in arguments.items():
        require(_finite(value), who, name, value, "finite in float32")


def at_least(low: float, who: str, *, several: bool = False, **arguments: Any) -> None:
    """Requires every argument to be finite and >= `low`."""
    number(who, several=several, **arguments)
    for name, value in arguments.items():
        require(_finite(value) & (value >= low), who, name, value, f">= {low}")


def above(low: float, who: str, **arguments: Any) -> None:
    """Requires every argument to be finite and > `low`."""
    number(who, **arguments)
    for name, value in arguments.items():
        require(_finite(value) & (value > low), who, name, value, f"> {low}")


def below(high: float, who: str, **arguments: Any) -> None:
    """Requires every argument to be finite and < `high`."""
    number(who, **arguments)
    for name, value in arguments.items():
        require(_finite(value) & (value < high), who, name, value, f"< {high}")


def within(low: float, high: float, who: str, **arguments: Any) -> None:
    """Requires every argument to lie between `low` and `high`, or to be one of them."""
    number(who, **arguments)
    for name, value in arguments.items():
        inside = (value >= low) & (value <= high)
        require(inside, who, name, value, f">= {low} and <= {high}")


def between(low: float, high: float, who: str, **arguments: Any) -> None:
    """Requires every argument to lie strictly between `low` and `high`."""
    number(who, **arguments)
    for name, value in arguments.items():
        inside = (value > low) & (value < high)
        require(inside, who, name, value, f"> {low} and < {high}")


def count(who: str, *, low: int = 1, **arguments: Any) -> None:
    """Requires every argument to be a whole number >= `low`."""
    number(who, **arguments)
    for name, value in arguments.items():
        kind = int if _is_int(value) else jnp.result_type(value)
        whole = np.issubdtype(kind, np.integer)
        require(whole, who, name, value, f"a whole number >= {low}")
        require(value >= low, who, name, value, f">= {low}")
        counted = isinstance(value, Tracer) or int(value) <= _LAST
        require(counted, who, name, value, f"<= {_LAST}, the last int32")


def counts(
    who: str, *, low: int = 0, ascending: bool = False, **arguments: Any
) -> None:
    """Requires every argument to be a sequence of whole numbers >= `low`."""
    order = " in ascending order" if ascending else ""
    for name, values in arguments.items():
        constraint = f"a sequence of whole numbers >= {low}{order}"
        require(_is_sequence(values), who, name, values, constraint)
        for i in range(len(values)):
            count(who, low=low, **{f"{name}[{i}]": values[i]})
            rises = not (ascending and i) or values[i - 1] <= values[i]
            require(rises, who, name, values, constraint)


def sequence(who: str, **arguments: Any) -> None:
    """Requires every argument to be a list, a tuple or an array of one axis."""
    for name, values in arguments.items():
        require(_is_sequence(values), who, name, values, "a sequence")


def flag(who: str, **arguments: Any) -> None:
    """Requires every argument to be True or False."""
    for name, value in arguments.items():
        require(isinstance(value, bool), who, name, repr(value), "True or False")


def is_one(value: Any) -> bool:
    """Whether an argument is known to be 1, so that what it does can be left out."""
    return not isinstance(value, Tracer) and bool(np.all(np.asarray(value) == 1))


def one_of(who: str, argument: str, value: Any, allowed: Iterable[Any]) -> None:
    """Requires a static argument to be one of the `allowed` values."""
    allowed = tuple(allowed)
    if value not in allowed:
        words = " or ".join(repr(a) for a in allowed)
        raise ValueError(
            f"`{who}({argument}=...)` must be {words}, got {value!r}."
            + did_you_mean(str(value), map(str, allowed))
        )


def _finite(value: Any) -> Any:
    return isinstance(value, Tracer) or abs(value) <= _LARGEST


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_sequence(values: Any) -> bool:
    listed = isinstance(values, Sequence) and not isinstance(values, (str, bytes))
    return listed or getattr(values, "ndim", 0) == 1
