"""Every public controller, and what the laws need to know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import BoundArguments, signature
from typing import Any

import optaxctl as octl
from optaxctl import Controller, StopReason


@dataclass(frozen=True, eq=False)
class Example:
    """A controller factory with arguments under which it acts on the shared tape.

    Attributes:
      factory: The public function.
      arguments: A value for every argument, by name.
      variations: Another value for every argument; each alone changes some decision.
      moves: The fields of `Decision` that it moves.
      readers: For every signal that it reads, the name of the reader in errors.
      last_values: Names in the state of what was last seen or decided. All other
        float32 leaves are statistics, which a non-finite step leaves bit-identical.
      declarations: Arguments that say something and decide nothing.
      sizes: Arguments that are the length of an array, and so cannot be traced.
    """

    factory: Callable[..., Controller]
    arguments: dict[str, Any]
    variations: dict[str, Any]
    moves: set[str]
    readers: dict[str, str]
    last_values: frozenset[str] = frozenset()
    declarations: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()

    def build(self, **changes: Any) -> Controller:
        call = BoundArguments(signature(self.factory), {**self.arguments, **changes})
        return self.factory(*call.args, **call.kwargs)


_IMPROVEMENT = {"mode": "max", "atol": 0.5, "rtol": 0.5}
_PATIENT = octl.stop.patience(3, monitor="loss")
_CLIP = octl.clip.zscore(warmup_updates=3)
_SPIKE = octl.watch.spike(3.0)

EXAMPLES = {
    "lr.follow": Example(
        octl.lr.follow,
        {"schedule": octl.schedules.cosine(60)},
        {"schedule": octl.schedules.cosine(30)},
        moves={"lr_scale"},
        readers={"accepted": "lr.follow"},
        last_values=frozenset({"factor"}),
    ),
    "lr.plateau": Example(
        octl.lr.plateau,
        {
            "updates": 3,
            "factor": 0.5,
            "monitor": "loss",
            "mode": "min",
            "atol": 0.0,
            "rtol": 1e-4,
            "cooldown": 2,
            "floor": 0.1,
            "max_adjustments": 4,
            "nonfinite": "ignore",
        },
        {
            "updates": 2,
            "factor": 0.7,
            "monitor": "val_loss",
            "cooldown": 0,
            "floor": 0.3,
            "max_adjustments": 1,
            "nonfinite": "count",
            **_IMPROVEMENT,
        },
        moves={"lr_scale"},
        readers={"loss": "lr.plateau"},
    ),
    "clip.zscore": Example(
        octl.clip.zscore,
        {
            "threshold": 2.0,
            "decay": 0.9,
            "warmup_updates": 5,
            "limit": "adaptive",
            "limit_factor": 1.0,
            "max_norm": 100.0,
            "eps": 1e-6,
        },
        {
            "threshold": 3.0,
            "decay": 0.5,
            "warmup_updates": 20,
            "limit": "mean",
            "limit_factor": 0.9,
            "max_norm": 1.0,
            "eps": 10.0,
        },
        moves={"clip_norm"},
        readers={"grad_norm": "clip.zscore"},
        last_values=frozenset({"limit"}),
    ),
    "clip.quantile": Example(
        octl.clip.quantile,
        {"level": 0.9, "window": 20, "current": False, "max_norm": 100.0},
        {"level": 0.5, "window": None, "current": True, "max_norm": 1.0},
        moves={"clip_norm"},
        readers={"grad_norm": "clip.quantile"},
        last_values=frozenset({"limit"}),
        sizes=frozenset({"window"}),
    ),
    "clip.history": Example(
        octl.clip.history,
        {
            "deviations": 2.0,
            "window": 20,
            "min_updates": 5,
            "max_norm": 100.0,
            "eps": 1e-6,
        },
        {
            "deviations": 3.0,
            "window": 10,
            "min_updates": 15,
            "max_norm": 1.0,
            "eps": 10.0,
        },
        moves={"clip_norm"},
        readers={"grad_norm": "clip.history"},
        last_values=frozenset({"limit"}),
        sizes=frozenset({"window"}),
    ),
    "stop.patience": Example(
        octl.stop.patience,
        {
            "updates": 3,
            "monitor": "loss",
            "mode": "min",
            "atol": 0.0,
            "rtol": 0.0,
            "nonfinite": "count",
        },
        {"updates": 2, "monitor": "val_loss", "nonfinite": "ignore", **_IMPROVEMENT},
        moves={"stop"},
        readers={"loss": "stop.patience"},
    ),
    "watch.nonfinite": Example(
        octl.watch.nonfinite,
        {"monitors": ("loss",), "updates": 2},
        {"monitors": ("loss", "val_loss"), "updates": 1},
        moves={"alarm"},
        readers={"loss": "watch.nonfinite"},
    ),
    "watch.spike": Example(
        octl.watch.spike,
        {"threshold": 7.0, "monitor": "loss", "scale": "log", "decay": 0.9},
        {"threshold": 50.0, "monitor": "val_loss", "scale": "linear", "decay": 0.05},
        moves={"alarm"},
        readers={"loss": "watch.spike"},
        last_values=frozenset({"z"}),
    ),
    "watch.outlier": Example(
        octl.watch.outlier,
        {
            "threshold": 63.0,
            "monitor": "loss",
            "window": 30,
            "min_updates": 3,
            "ddof": 0,
            "eps": 0.0,
        },
        {
            "threshold": 300.0,
            "monitor": "val_loss",
            "window": 3,
            "min_updates": 30,
            "ddof": 1,
            "eps": 10.0,
        },
        moves={"alarm"},
        readers={"loss": "watch.outlier"},
        last_values=frozenset({"z"}),
        sizes=frozenset({"window", "ddof"}),
    ),
    "after": Example(
        octl.after,
        {"updates": 25, "controller": _PATIENT},
        {"updates": 5, "controller": octl.stop.patience(9, monitor="loss")},
        moves={"stop"},
        readers={"loss": "stop.patience"},
    ),
    "every": Example(
        octl.every,
        {"updates": 2, "controller": _PATIENT},
        {"updates": 3, "controller": octl.stop.patience(2, monitor="loss")},
        moves={"stop"},
        readers={"loss": "stop.patience"},
        last_values=frozenset({"decision"}),
    ),
    "start_at": Example(
        octl.start_at,
        {"updates": 25, "controller": _CLIP},
        {"updates": 5, "controller": octl.clip.zscore(1.0, warmup_updates=3)},
        moves={"clip_norm"},
        readers={"grad_norm": "clip.zscore"},
        last_values=frozenset({"decision", "limit"}),
    ),
    "when": Example(
        octl.when,
        {
            "predicate": lambda signals: signals["val_loss"] < 5,
            "controller": _CLIP,
            "reads": ("val_loss",),
        },
        {
            "predicate": lambda signals: signals["step"] > 40,
            "controller": octl.clip.zscore(1.0, warmup_updates=3),
        },
        moves={"clip_norm"},
        readers={"grad_norm": "clip.zscore", "val_loss": "when"},
        last_values=frozenset({"decision", "limit"}),
        declarations=frozenset({"reads"}),
    ),
    "smooth": Example(
        octl.smooth,
        {
            "controller": octl.together(
                stop=octl.stop.patience(3, monitor="val_loss"),
                rate=octl.lr.plateau(3, monitor="loss"),
            ),
            "monitor": "loss",
            "decay": 0.5,
        },
        {"controller": _PATIENT, "monitor": "val_loss", "decay": 0.95},
        moves={"stop", "lr_scale"},
        readers={"loss": "smooth", "val_loss": "stop.patience"},
    ),
    "respond": Example(
        octl.respond,
        {
            "watcher": _SPIKE,
            "skip": True,
            "rewind": True,
            "lr_scale": 0.5,
            "clip_norm": 1.0,
            "stop": StopReason.NONFINITE,
            "recover": 4,
        },
        {
            "watcher": octl.watch.nonfinite("loss"),
            "skip": False,
            "rewind": False,
            "lr_scale": 0.25,
            "clip_norm": 2.0,
            "stop": StopReason.PATIENCE,
            "recover": 0,
        },
        moves={"alarm", "skip", "rewind", "lr_scale", "clip_norm", "stop"},
        readers={"loss": "watch.spike"},
        last_values=frozenset({"z"}),
    ),
    "together": Example(
        octl.together,
        {"controllers": {"stop": _PATIENT, "clip": _CLIP, "watch": _SPIKE}},
        {"controllers": {"stop": _PATIENT, "clip": _CLIP}},
        moves={"stop", "clip_norm", "alarm"},
        readers={"loss": "stop.patience", "grad_norm": "clip.zscore"},
        last_values=frozenset({"limit", "z"}),
    ),
    "guard": Example(
        octl.guard,
        {"monitors": ("loss", "grad_norm")},
        {"monitors": ("loss", "val_loss")},
        moves={"skip", "alarm"},
        readers={"loss": "watch.nonfinite", "grad_norm": "watch.nonfinite"},
    ),
}
