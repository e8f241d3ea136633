"""Carry out what a user asks of a run while it goes on."""

from collections.abc import Mapping
from typing import Any

from optaxctl._core.flags import StopReason
from optaxctl.host import _commands
from optaxctl.host.history import History
from optaxctl.views._observe import set_lr, set_lr_scale
from optaxctl.views._read import Reading, read
from optaxctl.views._state import states, write


def obey(carry: Any, history: History) -> tuple[Any, bool]:
    """Carries out the commands that were left for the run, and answers each.

    Returns the carry, and whether one of them was to stop.
    """
    stop = False
    for command in history.commands():
        before, what = read(carry), command["what"]
        try:
            carry = _after(carry, what)
        except (TypeError, ValueError) as error:
            history.acknowledge(command["id"], before.step, f"Refused: {error}")
            continue
        told = _told(what, before, read(carry))
        history.acknowledge(command["id"], before.step, told["outcome"])
        history.event(before.step, *what, evidence=what, **told)
        stop |= "stop" in what
    return carry, stop


def _after(carry: Any, what: Mapping[str, Any]) -> Any:
    _commands.check(what)
    if "lr_scale" in what:
        return set_lr_scale(carry, what["lr_scale"])
    if "learning_rate" in what:
        return set_lr(carry, what["learning_rate"])
    reasons = states(carry)[0].content().stop | int(StopReason.USER)
    return write(carry, lambda layout: {"stop": reasons})


def _told(what: Mapping[str, Any], before: Reading, after: Reading) -> dict[str, Any]:
    """Returns what a command changed, why, and what came of it."""
    if "stop" in what:
        reason = "The user asked to stop."
        return {"reason": reason, "outcome": f"Stopping at step {before.step:,}."}
    ((name, value),) = what.items()
    old, new = before.learning_rate, after.learning_rate
    return {
        "old": old,
        "new": new,
        "reason": f"The user set {name} to {value:.6g}.",
        "outcome": f"The learning rate goes from {old:.4g} to {new:.4g}.",
    }
