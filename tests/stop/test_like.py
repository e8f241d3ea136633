"""What the oracles in tests/oracles/test_stopping.py do not say of `stop.like_...`."""

from typing import Any

import numpy as np
import pytest

import optaxctl as octl

NAMES = {
    "keras": {"patience": -1, "start_from_epoch": -1, "baseline": float("nan")},
    "lightning": {
        "patience": -1,
        "min_delta": -1.0,
        "stopping_threshold": float("inf"),
        "divergence_threshold": float("nan"),
        "check_finite": 1,
    },
    "ignite": {"patience": 0, "threshold": -1.0, "threshold_mode": "share"},
    "hf": {"patience": 0, "threshold": -1.0},
    "fastai": {"patience": 0, "min_delta": -1.0},
    "torch": {"patience": -1, "threshold": -1.0, "threshold_mode": "share"},
    "flax": {"patience": -1, "min_delta": -1.0},
    "xgboost": {"rounds": 0, "min_delta": -1.0},
    "lightgbm": {"stopping_rounds": 0, "min_delta": -1.0},
}
FIRST = {"ignite": {"patience": 3}, "xgboost": {"rounds": 3}}
FIRST["lightgbm"] = {"stopping_rounds": 3}
WRONG = [(name, {key: value}) for name in NAMES for key, value in NAMES[name].items()]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_arguments_are_named_as_the_library_names_them(name: str, wrong: Any) -> None:
    (key,) = wrong
    preset = getattr(octl.stop, f"like_{name}")
    with pytest.raises(ValueError, match=rf"`stop.like_{name}\({key}=...\)` must be"):
        preset(**{**FIRST.get(name, {}), **wrong})
    for key, value in {"mode": "auto", "strict": 1}.items():
        with pytest.raises(ValueError, match=rf"`stop.like_{name}\({key}=...\)` must"):
            preset(**FIRST.get(name, {}), **{key: value})


def test_a_nan_at_the_start_poisons_keras_and_not_us() -> None:
    losses = np.array([np.nan, 5, 4, 3, 2, 1], np.float32)
    ours, theirs = (
        octl.replay(
            octl.stop.like_keras(4, strict=strict), {"val_loss": losses}
        ).decisions.stop.tolist()
        for strict in (False, True)
    )
    assert ours == [0] * 6
    assert theirs == [0, 0, 0, 0, 1, 1]


def test_torch_forgives_one_more_than_keras() -> None:
    losses = np.ones(6, np.float32)
    first = lambda c: int(
        np.argmax(octl.replay(c, {"val_loss": losses}).decisions.stop)
    )
    assert first(octl.stop.like_keras(2)) == 2
    assert first(octl.stop.like_torch(2)) == 3
    assert first(octl.stop.like_flax(2)) == 3
