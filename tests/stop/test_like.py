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


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_torch_is_counted_as_its_plateau_counts(
    strict: bool, mode: Any, threshold_mode: Any
) -> None:
    """`ReduceLROnPlateau.step` without the rate, around zero and with broken values."""
    rng = np.random.default_rng(0)
    xs = (np.cumsum(rng.normal(size=120)) / 4).astype(np.float32)
    broken = np.array([np.nan, np.inf, -np.inf], np.float32)
    for values in (xs, np.where(rng.random(120) < 0.1, rng.choice(broken, 120), xs)):
        sign = np.float32(1 if mode == "min" else -1)
        best, bad, stops = np.float32(np.inf), 0, []
        for y in sign * values:
            slope = sign * best if strict else abs(best)
            margin = np.float32(0.125)
            if threshold_mode == "rel":
                margin *= slope if np.isfinite(best) else np.float32(0)
            better = y < best - margin and (strict or bool(np.isfinite(y)))
            best, bad = (y, 0) if better else (best, bad + 1)
            stops.append(octl.StopReason.PATIENCE if bad > 3 else 0)
        c = octl.stop.like_torch(
            3, threshold=0.125, threshold_mode=threshold_mode, mode=mode, strict=strict
        )
        found = octl.replay(c, {"val_loss": values}).decisions.stop
        np.testing.assert_array_equal(found, stops)


def test_lightning_passes_a_threshold_by_more_than_a_tie() -> None:
    c = octl.stop.like_lightning(9, stopping_threshold=0.0, divergence_threshold=5.0)
    values = np.array([1, 0, 5, -1, 6, np.inf], np.float32)
    found = octl.replay(c, {"val_loss": values}).decisions.stop.tolist()
    reason = octl.StopReason
    assert found == [0, 0, 0, reason.TARGET, reason.LIMIT, reason.NONFINITE]


def test_the_value_to_beat_is_the_bar_of_the_next() -> None:
    c = octl.stop.like_ignite(3, threshold=0.25, threshold_mode="rel", mode="min")
    state = c.init()
    for x in (4.0, 2.5, -8.0):
        _, state = c.update({"val_loss": x}, state)
        bar = np.float32(c.gauges(state)["to_beat"])
        for value, stale in ((bar, 1), (np.nextafter(bar, np.float32(-np.inf)), 0)):
            after = c.update({"val_loss": value}, state)[1]
            assert int(c.gauges(after)["stale"]) == stale


def test_torch_forgives_one_more_than_keras() -> None:
    losses = np.ones(6, np.float32)
    first = lambda c: int(
        np.argmax(octl.replay(c, {"val_loss": losses}).decisions.stop)
    )
    assert first(octl.stop.like_keras(2)) == 2
    assert first(octl.stop.like_torch(2)) == 3
    assert first(octl.stop.like_flax(2)) == 3
