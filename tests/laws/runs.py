"""The runs that the laws compare, each compiled once for all the laws of a controller.

The caches hold few examples: the laws of one controller run one after another.
"""

from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import numpy as np

from optaxctl import Controller, Decision
from tests.laws.registry import Example
from tests.laws.tape import BROKEN_FROM_THE_START, TAPE, rows, scan, scan_moves, whole

few = lru_cache(maxsize=4)


class Steps:
    """A compiled update, and what it gave row by row."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.traces = 0
        self.update = jax.jit(self._counted)
        self.start = controller.init()

    def _counted(self, row: Any, state: Any) -> Any:
        self.traces += 1
        return self.controller.update(row, state)

    @cached_property
    def outs(self) -> list[tuple[Decision, Any]]:
        """The decision and the state after every row."""
        outs, state = [], self.start
        for row in rows():
            outs.append(self.update(row, state))
            state = outs[-1][1]
            assert self.traces == 1
        return outs

    @property
    def states(self) -> list[Any]:
        """The state before every row, and the last one."""
        return [self.start, *(state for _, state in self.outs)]


@few
def stepped(example: Example) -> Steps:
    return Steps(example.build())


@few
def recorded(
    example: Example, *, broken_from_the_start: bool = False
) -> tuple[Decision, Any, Any]:
    """Returns the decisions, states and gauges of a compiled scan over the tape."""
    tape = BROKEN_FROM_THE_START if broken_from_the_start else TAPE
    return jax.tree.map(np.asarray, _scan(example)(dict(tape)))


@few
def varied(example: Example) -> dict[str, Decision]:
    """Returns the decisions with each variation alone, by the argument it changes."""
    controllers = {n: example.build(**{n: v}) for n, v in example.variations.items()}
    # One program for all: a compilation costs more than what it compiles.
    scans = jax.jit(
        lambda tape: {n: scan_moves(c, tape) for n, c in controllers.items()}
    )
    return {name: whole(moves) for name, moves in scans(dict(TAPE)).items()}


@few
def _scan(example: Example) -> Any:
    return jax.jit(partial(scan, example.build()))
