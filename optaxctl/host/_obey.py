"""Carry out what a user asks of a run while it goes on."""

from collections.abc import Mapping
from typing import Any

from optaxctl.host import _commands
from optaxctl.host.history import History
from optaxctl.views._observe import set_lr, set_lr_scale
from optaxctl.views._read import read

_SETTERS = {"lr_scale": set_lr_scale, "learning_rate": set_lr}


def obey(carry: Any, history: History) -> tuple[Any, bool]:
    """Carries out the commands that were left for the run, and answers each.

    Returns the carry, and whether one of them was to stop.
    """
    stop = False
    for command in history.commands():
        what, before = command["what"], read(carry)
        step = before.step
        try:
            _commands.check(what)
            ((name, value),) = what.items()
            carry = _SETTERS[name](carry, value) if name in _SETTERS else carry
        except (TypeError, ValueError) as error:
            history.acknowledge(command["id"], step, f"Refused: {error}")
            continue
        stop |= name not in _SETTERS
        told = _told(name, value, _rates(before), _rates(read(carry)), step)
        history.acknowledge(command["id"], step, told["outcome"])
        history.event(step, name, evidence=what, **told)
    return carry, stop


def _rates(reading: Any) -> list[float]:
    """Returns the learning rate of every control state that shows one."""
    every = [r.learning_rate for r in (reading.groups or (reading,))]
    return [rate for rate in every if rate is not None]


def _told(
    name: str, value: Any, before: list[float], after: list[float], step: int
) -> Mapping[str, Any]:
    """Returns what a command changed, why, and what came of it."""
    if name not in _SETTERS:
        reason = "The user asked to stop."
        return {"reason": reason, "outcome": f"Stopping at step {step:,}."}
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    pairs = moved or list(zip(before, after, strict=True))
    said = " and ".join(f"from {old:.4g} to {new:.4g}" for old, new in pairs)
    return {
        "old": pairs[0][0],
        "new": pairs[0][1],
        "reason": f"The user set {name} to {value:.6g}.",
        "outcome": f"The learning rate goes {said}.",
    }
