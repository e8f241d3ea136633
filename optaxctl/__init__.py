"""Closed-loop training control for JAX and Optax."""

from importlib import import_module as _import_module
from typing import Any as _Any

__version__ = "0.1.0"

# What type checkers see of this stands in `__init__.pyi`; a test compares the two.
_MODULES = (
    "optaxctl.clip",
    "optaxctl.lr",
    "optaxctl.schedules",
    "optaxctl.stop",
    "optaxctl.transforms",
    "optaxctl.watch",
    "optaxctl.frontends.linen",
    "optaxctl.frontends.nnx",
    "optaxctl.host.checkpoint",
    "optaxctl.host.config",
    "optaxctl.host.history",
    "optaxctl.host.interrupt",
    "optaxctl.host.loop",
    "optaxctl.host.runs",
    "optaxctl.report",
)
_NAMES = {
    "optaxctl._core.cadence": ("after", "every", "fallback", "start_at", "when"),
    "optaxctl._core.persistence": ("lasting",),
    "optaxctl._core.response": ("respond",),
    "optaxctl._core.rollback": ("rollback",),
    "optaxctl._core.smoothing": ("smooth",),
    "optaxctl._core.controllers": ("Controller", "together"),
    "optaxctl._core.decisions": ("Decision", "decide", "merge"),
    "optaxctl._core.flags": ("Alarm", "Severity", "StopReason"),
    "optaxctl.host._found": ("RangeTest",),
    "optaxctl.host._summary": ("TrainingSummary",),
    "optaxctl.host.config._reading": ("from_config",),
    "optaxctl.host.lr_find": ("lr_find",),
    "optaxctl._core.keeping": ("KeepBest", "keep_best"),
    "optaxctl.views._control": ("Control", "apply_gradients", "control"),
    "optaxctl.views._explain": ("explain",),
    "optaxctl.views._inject": ("Injected", "inject"),
    "optaxctl.views._observe": ("observe", "set_lr", "set_lr_scale"),
    "optaxctl.views._population": ("population",),
    "optaxctl.views._presets": ("guard", "skip_spikes", "supervise"),
    "optaxctl.views._read": ("Reading", "last_decision", "read"),
    "optaxctl.views._replay": ("Replay", "replay"),
    "optaxctl.views._ring": ("rows",),
    "optaxctl.views._row": ("Row", "row"),
    "optaxctl.views._schedule": ("as_schedule",),
    "optaxctl.views._single": ("clip_by", "scale_by", "skip_if"),
    "optaxctl.views._snapshots": ("Snapshots",),
    "optaxctl.views._state": ("ControlState",),
    "optaxctl.views._until": ("Finished", "until"),
}
_HOME = {name: home for home, names in _NAMES.items() for name in names}
_HOME |= {module.rpartition(".")[2]: module for module in _MODULES}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> _Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optaxctl' has no attribute {name!r}")
    home = _import_module(_HOME[name])
    value = home if _HOME[name] in _MODULES else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
