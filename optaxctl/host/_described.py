"""What a user tells a history, checked where it is told."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_args

from optaxctl._core.types import Mode
from optaxctl.host._events import Event
from optaxctl.host._recorded import LEVELS, Level, one_of
from optaxctl.host._recorder import Sink


class Described(NamedTuple):
    """As the arguments of `History`, checked."""

    name: str
    config: Mapping[str, Any]
    sinks: tuple[Sink, ...]
    modes: Mapping[str, Mode]


def described(
    name: str,
    config: Mapping[str, Any] | None,
    sinks: Iterable[Sink],
    modes: Mapping[str, Mode] | None,
) -> Described:
    """Checks the arguments now, since they are used in the midst of a training."""
    if not isinstance(config or {}, Mapping):
        raise TypeError(f"`History(config=...)` must be a mapping, got {config!r}.")
    if callable(sinks) or not all(map(callable, sinks := tuple(sinks))):
        raise TypeError(
            f"`History(sinks=...)` must be a list of functions, got {sinks!r}."
        )
    for mode in (modes or {}).values():
        one_of("History", "modes", mode, get_args(Mode))
    return Described(str(name), config or {}, sinks, modes or {})


def event(
    step: int,
    kind: str,
    actor: str,
    severity: Level,
    old: float | None,
    new: float | None,
    reason: str,
    evidence: Mapping[str, Any] | None,
    outcome: str,
) -> Event:
    """Returns an event that happens now."""
    one_of("History.event", "severity", severity, LEVELS)
    return {
        "step": int(step),
        "time": time.time(),
        "actor": str(actor),
        "kind": str(kind),
        "severity": severity,
        "old": None if old is None else float(old),
        "new": None if new is None else float(new),
        "reason": str(reason),
        "evidence": dict(evidence or {}),
        "outcome": str(outcome),
    }
