"""Controllers that can say how they were made."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np
from jax.core import Tracer

P = ParamSpec("P")
Made = TypeVar("Made", bound=Any)


def factory(make: Callable[P, Made]) -> Callable[P, Made]:
    """Notes on a controller the call that made it.

    A checkpoint keeps the note, and says later what has been set differently since.
    Arguments that equal their default are left out.
    """
    signature = inspect.signature(make)
    family = make.__module__.split(".")[1]
    home = "" if family in ("_core", "views") else f"{family}."

    @functools.wraps(make)
    def noted(*args: P.args, **kwargs: P.kwargs) -> Made:
        made = make(*args, **kwargs)
        spelt = _spelt(signature, args, kwargs)
        return made._replace(call=f"{home}{make.__name__}({spelt})")

    return noted


def _spelt(signature: inspect.Signature, args: Any, kwargs: Any) -> str:
    said = []
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            said += map(_said, value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            said += [f"{n}={_said(v)}" for n, v in value.items()]
        elif (word := _said(value)) != _said(parameter.default):
            named = parameter.kind is parameter.KEYWORD_ONLY
            said.append(f"{name}={word}" if named else word)
    return ", ".join(said)


def _said(value: Any) -> str:
    """Returns a value as source code shows it, and the same in every process."""
    if hasattr(value, "call"):
        return value.call or "Controller"
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        if isinstance(value, Tracer):
            return "traced"
        return f"array{value.shape}" if value.ndim else repr(value.item())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_said(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_said, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(_said, value)))}}}"
    if isinstance(value, (bool, int, float, str, type(None))):
        return repr(value)
    # An address, as in the repr of a function, is another one in every process.
    return getattr(value, "__qualname__", type(value).__qualname__)
