"""Controllers around controllers."""

import optaxctl as octl
from optaxctl import StopReason
from tests.laws._example import Example

_PATIENT = octl.stop.patience(3, monitor="loss")
_CLIP = octl.clip.zscore(warmup_updates=3)
_SPIKE = octl.watch.spike(3.0)

COMBINATORS = {
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
    "fallback": Example(
        octl.fallback,
        {"updates": 2, "controller": octl.lr.plateau(3, monitor="loss")},
        {"updates": 3, "controller": octl.lr.plateau(2, monitor="loss")},
        moves={"lr_scale"},
        readers={"loss": "lr.plateau"},
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
    "lasting": Example(
        octl.lasting,
        {
            "updates": 2,
            "watcher": octl.watch.excess(1.005, window=2),
            "within": 4,
        },
        {
            "updates": 3,
            "watcher": octl.watch.excess(1.005, monitor="val_loss", window=2),
            "within": None,
        },
        moves={"alarm"},
        readers={"loss": "watch.excess"},
        last_values=frozenset({"limit"}),
        sizes=frozenset({"within"}),
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
    "rollback": Example(
        octl.rollback,
        {
            "watcher": octl.together(nan=octl.watch.nonfinite("loss"), high=_SPIKE),
            "monitor": "val_loss",
            "lr_scale": 0.5,
            "recover": 6,
            "refractory": 1,
            "probation": 4,
            "margin": 0.2,
            "tries": 2,
        },
        {
            "watcher": _SPIKE,
            "monitor": "loss",
            "lr_scale": 0.25,
            "recover": 0,
            "refractory": 2,
            "probation": 12,
            "margin": 50.0,
            "tries": 3,
        },
        moves={"alarm", "skip", "rewind", "lr_scale", "stop"},
        readers={"loss": "watch.nonfinite", "val_loss": "rollback"},
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
    "skip_spikes": Example(
        octl.skip_spikes,
        {"threshold": 63.0, "window": 30, "min_updates": 3, "ddof": 0, "eps": 0.0},
        {"threshold": 300.0, "window": 3, "min_updates": 30, "ddof": 1, "eps": 10.0},
        moves={"skip", "alarm"},
        readers={"loss": "watch.nonfinite", "grad_norm": "watch.nonfinite"},
        last_values=frozenset({"z"}),
        sizes=frozenset({"window", "ddof"}),
    ),
    "guard": Example(
        octl.guard,
        {"monitors": ("loss", "grad_norm")},
        {"monitors": ("loss", "val_loss")},
        moves={"skip", "alarm"},
        readers={"loss": "watch.nonfinite", "grad_norm": "watch.nonfinite"},
    ),
}
