"""Closed-loop training control for JAX and Optax."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from optaxctl import clip, lr, schedules, stop, watch
    from optaxctl._core.combinators import after, every, respond, smooth, start_at, when
    from optaxctl._core.controllers import Controller, together
    from optaxctl._core.decisions import Decision, decide, merge
    from optaxctl._core.flags import Alarm, Severity, StopReason
    from optaxctl.frontends import linen
    from optaxctl.host import checkpoint, loop
    from optaxctl.views._best import KeepBest, keep_best
    from optaxctl.views._control import Control, apply_gradients, control
    from optaxctl.views._inject import Injected, inject
    from optaxctl.views._observe import observe, set_lr
    from optaxctl.views._presets import guard, supervise
    from optaxctl.views._read import Reading, last_decision, read
    from optaxctl.views._replay import Replay, replay
    from optaxctl.views._schedule import as_schedule
    from optaxctl.views._single import clip_by, scale_by, skip_if
    from optaxctl.views._state import ControlState

_HOME = {
    "clip": "optaxctl.clip",
    "lr": "optaxctl.lr",
    "schedules": "optaxctl.schedules",
    "stop": "optaxctl.stop",
    "watch": "optaxctl.watch",
    "linen": "optaxctl.frontends.linen",
    "checkpoint": "optaxctl.host.checkpoint",
    "loop": "optaxctl.host.loop",
    "after": "optaxctl._core.combinators",
    "every": "optaxctl._core.combinators",
    "respond": "optaxctl._core.combinators",
    "smooth": "optaxctl._core.combinators",
    "start_at": "optaxctl._core.combinators",
    "when": "optaxctl._core.combinators",
    "Controller": "optaxctl._core.controllers",
    "together": "optaxctl._core.controllers",
    "Decision": "optaxctl._core.decisions",
    "decide": "optaxctl._core.decisions",
    "merge": "optaxctl._core.decisions",
    "Alarm": "optaxctl._core.flags",
    "Severity": "optaxctl._core.flags",
    "StopReason": "optaxctl._core.flags",
    "KeepBest": "optaxctl.views._best",
    "keep_best": "optaxctl.views._best",
    "Control": "optaxctl.views._control",
    "apply_gradients": "optaxctl.views._control",
    "control": "optaxctl.views._control",
    "Injected": "optaxctl.views._inject",
    "inject": "optaxctl.views._inject",
    "observe": "optaxctl.views._observe",
    "set_lr": "optaxctl.views._observe",
    "guard": "optaxctl.views._presets",
    "supervise": "optaxctl.views._presets",
    "Reading": "optaxctl.views._read",
    "last_decision": "optaxctl.views._read",
    "read": "optaxctl.views._read",
    "Replay": "optaxctl.views._replay",
    "replay": "optaxctl.views._replay",
    "as_schedule": "optaxctl.views._schedule",
    "clip_by": "optaxctl.views._single",
    "scale_by": "optaxctl.views._single",
    "skip_if": "optaxctl.views._single",
    "ControlState": "optaxctl.views._state",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optaxctl' has no attribute {name!r}")
    home = importlib.import_module(_HOME[name])
    is_module = _HOME[name].rpartition(".")[2] == name
    value = home if is_module else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
