"""The course of a run in few values, in a time that does not grow with the run."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from optaxctl.host import _database
from optaxctl.host._recorded import Run, numbers

AVERAGED = 16  # consecutive steps behind each value, at most


class Sampled(NamedTuple):
    """Series at the same places of a run.

    Attributes:
      edges: The first step of each place, and the step behind the last place.
      series: Values by name, NaN where there is none.
    """

    edges: list[int]
    series: dict[str, list[float]]


def sampled(run: Run, names: Sequence[str], points: int) -> Sampled:
    """Reads a few steps at each of `points` places; evaluations hold until the next."""
    with _database.reading(run.path) as db:
        evaluations: dict[str, list[tuple[int, float]]] = {}
        for name, step, _, value in _database.evaluations(db, run.id):
            evaluations.setdefault(name, []).append((step, value))
        steps = [step for found in evaluations.values() for step, _ in found]
        steps += _database.span(db, run.id) or ()
        if not steps:
            return Sampled([], {})
        first, end = min(steps), max(steps) + 1
        edges = [first + i * (end - first) // points for i in range(points + 1)]
        places = {name: n for n, (name, _) in enumerate(run.columns)}
        series = {}
        for name in names:
            if name in evaluations:
                series[name] = _held(evaluations[name], edges)
            elif name in places:
                column, kind = places[name], dict(run.columns)[name]
                series[name] = [
                    _mean(numbers(_database.words(db, run.id, column, *part)[1], kind))
                    for part in map(_part, pairwise(edges))
                ]
    return Sampled(edges, series)


def _part(place: tuple[int, int]) -> tuple[int, int]:
    first, end = place
    return first, max(first, min(end, first + AVERAGED) - 1)


def _held(found: list[tuple[int, float]], edges: list[int]) -> list[float]:
    values, value, taken = [], math.nan, 0
    for first, end in pairwise(edges):
        while taken < len(found) and found[taken][0] < max(end, first + 1):
            value, taken = found[taken][1], taken + 1
        values.append(value)
    return values


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan
