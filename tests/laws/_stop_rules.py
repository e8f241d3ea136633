"""The controllers of `stop` that look at a value or a count."""

from typing import Any

import jax.numpy as jnp

import optaxctl as octl
from tests.laws._example import Example


def _falls_short(epoch: Any, metric: Any, state: Any) -> Any:
    stale = jnp.where(metric < jnp.nanmin(state.history), 0, state.counter + 1)
    return (stale > 2) & (epoch > 4), stale


def _is_high(epoch: Any, metric: Any, state: Any) -> Any:
    return metric > 1.5 * state.history[-1]


def _like(name: str, usual: dict[str, Any], other: dict[str, Any]) -> Example:
    shared = {"monitor": "loss", "mode": "min", "strict": False}
    changes = {"monitor": "val_loss", "mode": "max", "strict": True}
    return Example(
        getattr(octl.stop, f"like_{name}"),
        {**usual, **shared},
        {**other, **changes},
        moves={"stop"},
        readers={"loss": f"stop.like_{name}"},
    )


_DELTA = {"patience": 3, "min_delta": 0.05}, {"patience": 2, "min_delta": 1.0}
_RELATIVE = (
    {"patience": 3, "threshold": 0.25, "threshold_mode": "rel"},
    {"patience": 2, "threshold": 1.0, "threshold_mode": "abs"},
)

STOP_RULES = {
    "stop.patience": Example(
        octl.stop.patience,
        {
            "updates": 3,
            "monitor": "loss",
            "mode": "min",
            "atol": 0.05,
            "rtol": 0.0,
            "cumulative": True,
            "baseline": 3.0,
            "nonfinite": "count",
        },
        {
            "updates": 2,
            "monitor": "val_loss",
            "mode": "max",
            "atol": 0.5,
            "rtol": 0.5,
            "cumulative": False,
            "baseline": 0.5,
            "nonfinite": "ignore",
        },
        moves={"stop"},
        readers={"loss": "stop.patience"},
    ),
    "stop.small_gain": Example(
        octl.stop.small_gain,
        {"updates": 2, "monitor": "loss", "mode": "min", "atol": 0.0, "rtol": 0.02},
        {"updates": 1, "monitor": "val_loss", "mode": "max", "atol": 1.0, "rtol": 0.3},
        moves={"stop"},
        readers={"loss": "stop.small_gain"},
        last_values=frozenset({"last"}),
    ),
    "stop.target": Example(
        octl.stop.target,
        {"value": 1.1, "updates": 1, "monitor": "loss", "mode": "min"},
        {"value": 0.5, "updates": 3, "monitor": "val_loss", "mode": "max"},
        moves={"stop"},
        readers={"loss": "stop.target"},
    ),
    "stop.limit": Example(
        octl.stop.limit,
        {"value": 2.0, "updates": 1, "monitor": "loss", "mode": "min"},
        {"value": 70.0, "updates": 2, "monitor": "val_loss", "mode": "max"},
        moves={"stop"},
        readers={"loss": "stop.limit"},
    ),
    "stop.nonfinite": Example(
        octl.stop.nonfinite,
        {"updates": 2, "monitor": "loss"},
        {"updates": 3, "monitor": "val_loss"},
        moves={"stop"},
        readers={"loss": "stop.nonfinite"},
    ),
    "stop.budget": Example(
        octl.stop.budget,
        {"total": 40, "per_update": "val_loss"},
        {"total": 60, "per_update": 3},
        moves={"stop"},
        readers={"val_loss": "stop.budget"},
    ),
    "stop.custom": Example(
        octl.stop.custom,
        {
            "function": _falls_short,
            "monitor": "loss",
            "window": 4,
            "reason": octl.StopReason.CUSTOM,
        },
        {"function": _is_high, "monitor": "val_loss", "window": 9, "reason": 1 << 24},
        moves={"stop"},
        readers={"loss": "stop.custom"},
        last_values=frozenset({"history"}),
        sizes=frozenset({"window"}),
    ),
    "stop.evidence": Example(
        octl.stop.evidence,
        {
            "parts": 2,
            "updates": 1,
            "monitor": "loss",
            "spread": "val_loss",
            "decay": 0.2,
        },
        {
            "parts": 40,
            "updates": 9,
            "monitor": "val_loss",
            "spread": "loss",
            "decay": 0.95,
        },
        moves={"stop"},
        readers={"loss": "stop.evidence", "val_loss": "stop.evidence"},
    ),
    "stop.like_keras": _like(
        "keras",
        {**_DELTA[0], "baseline": 3.0, "start_from_epoch": 0},
        {**_DELTA[1], "baseline": 0.5, "start_from_epoch": 25},
    ),
    "stop.like_lightning": _like(
        "lightning",
        {
            **_DELTA[0],
            "check_finite": False,
            "stopping_threshold": None,
            "divergence_threshold": 50.0,
        },
        {
            **_DELTA[1],
            "check_finite": True,
            "stopping_threshold": 1.5,
            "divergence_threshold": 3.0,
        },
    ),
    "stop.like_ignite": _like(
        "ignite",
        {**_RELATIVE[0], "cumulative": True},
        {**_RELATIVE[1], "cumulative": False},
    ),
    "stop.like_hf": _like(
        "hf", {"patience": 3, "threshold": 0.05}, {"patience": 2, "threshold": 1.0}
    ),
    "stop.like_fastai": _like("fastai", *_DELTA),
    "stop.like_torch": _like("torch", *_RELATIVE),
    "stop.like_flax": _like("flax", *_DELTA),
    "stop.like_xgboost": _like(
        "xgboost", {"rounds": 3, "min_delta": 0.05}, {"rounds": 2, "min_delta": 1.0}
    ),
    "stop.like_lightgbm": _like(
        "lightgbm",
        {"stopping_rounds": 3, "min_delta": 0.05},
        {"stopping_rounds": 2, "min_delta": 1.0},
    ),
    "stop.any_of": Example(
        octl.stop.any_of,
        {
            "rules": {
                "stale": octl.stop.patience(3, monitor="loss"),
                "high": octl.stop.limit(20.0),
            }
        },
        {"rules": {"stale": octl.stop.patience(3, monitor="loss")}},
        moves={"stop"},
        readers={"loss": "stop.patience", "val_loss": "stop.limit"},
    ),
    "stop.all_of": Example(
        octl.stop.all_of,
        {
            "rules": {
                "stale": octl.stop.patience(3, monitor="loss"),
                "low": octl.stop.target(2.0),
            }
        },
        {"rules": {"stale": octl.stop.patience(3, monitor="loss")}},
        moves={"stop"},
        readers={"loss": "stop.patience", "val_loss": "stop.target"},
    ),
}
