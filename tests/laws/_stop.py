"""The controllers of `stop` that need a window or two signals."""

import optaxctl as octl
from tests.laws._example import Example

STOP = {
    "stop.convergence": Example(
        octl.stop.convergence,
        {"window": 3, "monitor": "loss", "atol": 0.0, "rtol": 0.01},
        {"window": 6, "monitor": "val_loss", "atol": 0.05, "rtol": 0.001},
        moves={"stop"},
        readers={"loss": "stop.convergence"},
        sizes=frozenset({"window"}),
    ),
    "stop.overfitting": Example(
        octl.stop.overfitting,
        {
            "updates": 2,
            "monitor": "val_loss",
            "reference": "loss",
            "mode": "min",
            "atol": 0.5,
            "rtol": 0.2,
        },
        {
            "updates": 4,
            "monitor": "grad_norm",
            "reference": "grad_norm",
            "mode": "max",
            "atol": 1.5,
            "rtol": 0.9,
        },
        moves={"stop"},
        readers={"loss": "stop.overfitting", "val_loss": "stop.overfitting"},
    ),
    "stop.generalization_loss": Example(
        octl.stop.generalization_loss,
        {"alpha": 1.0, "monitor": "loss"},
        {"alpha": 3.0, "monitor": "val_loss"},
        moves={"stop"},
        readers={"loss": "stop.generalization_loss"},
    ),
    "stop.progress_quotient": Example(
        octl.stop.progress_quotient,
        {
            "alpha": 0.05,
            "strip": 4,
            "monitor": "val_loss",
            "reference": "loss",
            "min_progress": 0.1,
        },
        {
            "alpha": 3.0,
            "strip": 3,
            "monitor": "loss",
            "reference": "val_loss",
            "min_progress": 100.0,
        },
        moves={"stop"},
        readers={
            "loss": "stop.progress_quotient",
            "val_loss": "stop.progress_quotient",
        },
    ),
    "stop.successive_rises": Example(
        octl.stop.successive_rises,
        {"strips": 2, "strip": 2, "monitor": "loss", "mode": "min"},
        {"strips": 1, "strip": 3, "monitor": "val_loss", "mode": "max"},
        moves={"stop"},
        readers={"loss": "stop.successive_rises"},
    ),
    "stop.trend": Example(
        octl.stop.trend,
        {"window": 8, "p_value": 0.5, "monitor": "loss", "mode": "min"},
        {"window": 5, "p_value": 0.05, "monitor": "val_loss", "mode": "max"},
        moves={"stop"},
        readers={"loss": "stop.trend"},
        sizes=frozenset({"window"}),
    ),
    "stop.extrapolation": Example(
        octl.stop.extrapolation,
        {
            "window": 8,
            "updates": 2,
            "monitor": "loss",
            "mode": "min",
            "atol": 0.0,
            "rtol": 0.0,
            "total_updates": 200,
        },
        {
            "window": 5,
            "updates": 4,
            "monitor": "val_loss",
            "mode": "max",
            "atol": 0.5,
            "rtol": 0.5,
            "total_updates": 60,
        },
        moves={"stop"},
        readers={"loss": "stop.extrapolation"},
        sizes=frozenset({"window"}),
    ),
}
