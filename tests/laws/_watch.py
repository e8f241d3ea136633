"""The controllers of `watch`."""

import optaxctl as octl
from tests.laws._example import Example

WATCH = {
    "watch.nonfinite": Example(
        octl.watch.nonfinite,
        {"monitors": ("loss",)},
        {"monitors": ("loss", "val_loss")},
        moves={"alarm"},
        readers={"loss": "watch.nonfinite"},
    ),
    "watch.excess": Example(
        octl.watch.excess,
        {"factor": 10.0, "monitor": "loss", "window": None},
        {"factor": 20.0, "monitor": "val_loss", "window": 5},
        moves={"alarm"},
        readers={"loss": "watch.excess"},
        last_values=frozenset({"limit"}),
        sizes=frozenset({"window"}),
    ),
    "watch.divergence": Example(
        octl.watch.divergence,
        {
            "threshold": 7.0,
            "updates": 1,
            "factor": 20.0,
            "monitor": "loss",
            "scale": "log",
            "decay": 0.9,
        },
        {
            "threshold": 5.0,
            "updates": 2,
            "factor": 2.0,
            "monitor": "val_loss",
            "scale": "linear",
            "decay": 0.05,
        },
        moves={"alarm"},
        readers={"loss": "watch.nonfinite"},
        last_values=frozenset({"z", "limit"}),
    ),
    "watch.vanishing": Example(
        octl.watch.vanishing,
        {"ratio": 0.7, "monitor": "grad_norm", "decay": 0.9},
        {"ratio": 0.8, "monitor": "loss", "decay": 0.05},
        moves={"alarm"},
        readers={"grad_norm": "watch.vanishing"},
        last_values=frozenset({"limit"}),
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
}
