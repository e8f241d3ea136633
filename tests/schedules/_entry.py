"""What the registry of schedules says about one of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import optaxctl as octl
from tests.schedules import references

LAST = 2**31 - 1


class Body(NamedTuple):
    """A schedule as an argument of another, with its reference."""

    name: str
    arguments: dict[str, Any]

    def schedule(self) -> Any:
        return make(self.name, self.arguments)

    def reference(self, step: float) -> float:
        return reference(self.name, step, self.arguments)


class Entry(NamedTuple):
    """One schedule.

    Attributes:
      arguments: An example, whose course is worth a picture.
      sweeps: Other values of each number, to be swept by `vmap`.
      options: Other values of each argument that is no number, for its effect.
      wrong: Values that must be refused.
      horizon: Arguments that make the example as long as int32 can count.
      span: The lowest and the highest value of the example.
      exact: Whether no transcendental function is involved.
    """

    arguments: Mapping[str, Any]
    sweeps: Mapping[str, Sequence[Any]] = {}
    options: Mapping[str, Sequence[Any]] = {}
    wrong: Mapping[str, Sequence[Any]] = {}
    horizon: Mapping[str, Any] = {}
    span: tuple[float, float] = (0.0, 1.0)
    exact: bool = False


def make(name: str, arguments: Mapping[str, Any]) -> Any:
    given = {key: _open(value, "schedule") for key, value in arguments.items()}
    several = given.pop("schedules", ()) if name == "times" else ()
    return getattr(octl.schedules, name)(*several, **given)


def reference(name: str, step: float, arguments: Mapping[str, Any]) -> float:
    given = {key: _open(value, "reference") for key, value in arguments.items()}
    several = given.pop("schedules", ()) if name == "times" else ()
    return getattr(references, name)(max(step, 0), *several, **given)


def _open(value: Any, kind: str) -> Any:
    if isinstance(value, Body):
        return value.schedule() if kind == "schedule" else value.reference
    if isinstance(value, list) and any(isinstance(one, Body) for one in value):
        return [_open(one, kind) for one in value]
    return value


# What is no count of steps, no count that may be 0, and no number.
COUNT = (
    0,
    -1,
    2.5,
    1e6,
    float("nan"),
    2**31,
    True,
    np.ones(2, int),
)
COUNT0 = COUNT[1:]
NUMBER = (
    float("nan"),
    float("inf"),
    "0.1",
    None,
    1e39,
    10**60,
    True,
    1j,
    np.ones(2),
)
ENDS = {"init_value": (0.0, 0.25, 2.0), "end_value": (0.0, 0.25, 1.5)}
NO_ENDS = {"init_value": NUMBER, "end_value": NUMBER}
NO_SHAPE = ("sine", None)


def shapes(but: str) -> tuple[Any, ...]:
    """Every kind of shape but the example's."""
    known = ("linear", "cosine", "sqrt", lambda done: (1 - done) ** 3)
    return tuple(shape for shape in known if shape != but)
