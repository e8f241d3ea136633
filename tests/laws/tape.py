"""One run for every law: it falls, is poisoned, stalls, and falls again."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl import Controller, Decision
from optaxctl._core.decisions import decide, moved

Tape = Mapping[str, np.ndarray]

POISON = (np.nan, np.inf, -np.inf)
COUNTS = {"step", "accepted"}


def _signal(high: float, low: float, spike: float, shift: int) -> np.ndarray:
    fall = np.geomspace(high, low, 16)
    stall = low * (1 + 0.02 * np.sin(np.arange(20)) ** 2)
    stall[6] = stall[7]
    stall[10] *= spike
    again = np.geomspace(low, low / 5, 16)
    rest = np.roll(np.concatenate([stall, [np.nan, np.nan], again]), shift)
    end = np.full(18, low / 5)
    end[9] *= spike
    return np.concatenate([fall, POISON, rest, end]).astype(np.float32)


def _tape() -> Tape:
    floats = {
        "loss": _signal(4.0, 1.0, 60.0, 0),
        "val_loss": _signal(7.0, 2.0, 30.0, 3),
        "grad_norm": _signal(9.0, 3.0, 90.0, 0),
    }
    floats["learning_rate"] = np.full_like(floats["loss"], 1e-3)
    step = np.arange(floats["loss"].size, dtype=np.int32)
    healthy = np.isfinite(floats["loss"])
    accepted = np.concatenate([[0], np.cumsum(healthy)[:-1]]).astype(np.int32)
    return {**floats, "step": step, "accepted": accepted}


TAPE = _tape()
STEPS = TAPE["step"].size
FIRST_POISON = int(np.argmin(np.isfinite(TAPE["loss"])))
BROKEN_FROM_THE_START: Tape = {
    name: column if name in COUNTS else np.roll(column, -FIRST_POISON)
    for name, column in TAPE.items()
}


@cache
def rows() -> tuple[dict[str, jax.Array], ...]:
    """Returns the signals of one step after another."""
    return tuple(
        {name: jnp.asarray(column[step]) for name, column in TAPE.items()}
        for step in range(STEPS)
    )


def scan(controller: Controller, tape: Any = TAPE) -> tuple[Decision, Any, Any]:
    """Returns the decisions, states and gauges of every step; traceable."""

    def body(state: Any, row: Any) -> Any:
        decision, state = controller.update(row, state)
        return state, (decision, state, controller.gauges(state))

    return jax.lax.scan(body, controller.init(), dict(tape))[1]


def scan_moves(controller: Controller, tape: Any = TAPE) -> dict[str, Any]:
    """Returns the fields that decisions move, of every step; traceable.

    A field less for each loop to carry is time that XLA does not take to compile it.
    """

    def body(state: Any, row: Any) -> Any:
        decision, state = controller.update(row, state)
        return state, {field: getattr(decision, field) for field in moved(decision)}

    return jax.lax.scan(body, controller.init(), dict(tape))[1]


def whole(moves: dict[str, Any]) -> Decision:
    """Returns the decisions of which these fields move, and the others are neutral."""
    moves = jax.tree.map(np.asarray, moves)
    shape = jax.tree.leaves(moves)[0].shape
    neutral = decide()._asdict()
    fields = {n: np.broadcast_to(x, shape) for n, x in neutral.items() if n != "knobs"}
    return Decision(**{**fields, "knobs": {}, **moves})


def stack(trees: list[Any]) -> Any:
    """Returns one tree of arrays with a leading axis of steps."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
