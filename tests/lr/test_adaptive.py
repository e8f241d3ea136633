import functools
from typing import Any

import jax
import numpy as np
import pytest

import optaxctl as octl
from optaxctl.lr import Change

STEPS, TAPES = 160, 40
USUAL = {
    "monitor": "loss",
    "mode": "min",
    "scale": "log",
    "window": 8,
    "sliding": False,
    "warmup": 10,
    "patience": 2,
    "cooldown": 0,
    "increase": 1.1,
    "decrease": 0.7,
    "brake": 0.5,
    "improving": 0.02,
    "flat": 0.001,
    "stable": 0.3,
    "unstable": 0.5,
    "spike": 6.0,
    "max_change": 0.25,
    "floor": 0.01,
    "ceil": 2.0,
    "max_adjustments": None,
    "nonfinite": "brake",
}


DEFAULTS: list[dict[str, Any]] = [{}, {"window": 15, "warmup": 30, "cooldown": 0}]


def tapes() -> Any:
    """Losses that fall, stall and rise, with noise of all sizes, spikes and NaN."""
    rng = np.random.default_rng(0)
    drift = rng.normal(0, 0.03, (TAPES, 4)).repeat(STEPS // 4, axis=1)
    noise = rng.normal(size=(TAPES, STEPS)) * rng.choice([0.01, 0.2, 0.8], (TAPES, 1))
    y = np.cumsum(drift, axis=1) + noise
    y += 6 * (rng.random(y.shape) < 0.02)
    x = np.exp(y)
    x[rng.random(y.shape) < 0.02] = np.nan
    x[rng.random(y.shape) < 0.01] = np.inf
    return x.astype(np.float32)


def reference(xs: Any, rates: Any, how: dict[str, Any]) -> Any:
    """Yields the scale and what was done, in plain Python and float64."""
    log = how["scale"] == "log"
    sign = 1 if how["mode"] == "min" else -1
    size, calm, stale, quiet, made, scale = how["window"], [], 0, 0, 0, 1.0
    mean = var = 0.0
    seen = 0
    for t, (x, rate) in enumerate(zip(xs.astype(np.float64), rates, strict=True)):
        with np.errstate(invalid="ignore", divide="ignore"):
            y = sign * (np.log(x) if log else x)
        ok, factor, braked, judged = np.isfinite(y), 1.0, False, False
        if seen and not np.isfinite(x):
            braked = how["nonfinite"] == "brake"
        if ok:
            unit = 1 if log else abs(y)
            mean, var = (mean, var) if seen else (y, 0.05 * unit**2)
            std = np.sqrt(var) + 0.01 * (1 if log else abs(mean))
            braked = seen > 0 and (y - mean) / std > how["spike"]
            kept = np.clip(y, mean - 6 * std, mean + 6 * std)
            b, d = max(0.01, 1 / (10 + seen)), kept - mean
            mean, var, seen = mean + b * d, (1 - b) * (var + b * d * d), seen + 1
            if t >= how["warmup"]:
                calm.append(kept)
                whole = how["sliding"] or len(calm) % size == 0
                judged = len(calm) >= 2 * size and whole
        if judged:
            older, newer = np.split(np.array(calm[-2 * size :]), 2)
            line = np.polyfit(np.arange(size), newer, 1)
            unit = 1 if log else abs(newer.mean())
            cv = np.std(newer - np.polyval(line, np.arange(size))) / unit
            gain = (older.mean() - newer.mean()) / unit
            stale = 0 if gain >= how["flat"] else stale + 1
            if cv > how["unstable"] or stale >= how["patience"]:
                factor, stale = how["decrease"], 0
            elif gain > how["improving"] and cv < how["stable"]:
                factor = how["increase"]
        most = how["max_change"]
        factor = how["brake"] if braked else np.clip(factor, 1 - most, 1 + most)
        low = max(how.get("min_rate", 0) / rate, how["floor"])
        high = min(how.get("max_rate", np.inf) / rate, how["ceil"])
        target = np.clip(scale * factor, min(low, scale), max(high, scale))
        may = how["max_adjustments"] is None or made < how["max_adjustments"]
        change = Change.HOLD
        if not np.isclose(target, scale, rtol=1e-6) and may and (braked or not quiet):
            change = Change.INCREASE if target > scale else Change.DECREASE
            change = Change.SPIKE if braked else change
            scale, quiet, made = target, how["cooldown"], made + 1
        else:
            quiet = max(quiet - 1, 0)
        yield scale, change


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sliding": True, "cooldown": 5, "warmup": 0, "nonfinite": "ignore"},
        {"scale": "linear", "mode": "max", "max_adjustments": 3, "patience": 1},
        {"min_rate": 4e-4, "max_rate": 1.3e-3, "floor": 0.0, "ceil": 1e6},
    ],
)
def test_matches_the_reference(changes: dict[str, Any]) -> None:
    how = {**USUAL, **changes}
    xs, rates = tapes(), np.geomspace(3e-4, 2e-3, STEPS, dtype=np.float32)
    controller = octl.lr.adaptive(**how)
    rows = functools.partial(octl.replay, controller)
    run = jax.jit(jax.vmap(lambda x: rows({"loss": x, "learning_rate": rates})))
    gauges = {name: np.asarray(g) for name, g in run(xs).gauges.items()}
    for i, x in enumerate(xs):
        scale, change = zip(*reference(x, rates.astype(np.float64), how), strict=True)
        np.testing.assert_array_equal(gauges["decision"][i], change)
        np.testing.assert_allclose(gauges["scale"][i], scale, rtol=1e-5)
        before = [1.0, *scale[:-1]]
        np.testing.assert_allclose(gauges["scale_before"][i], before, rtol=1e-5)
    assert set(gauges["decision"].ravel()) == set(Change)


def test_story() -> None:
    """Halving per window: raised twice; a spike: halved at once, beyond max_change."""
    losses = np.concatenate([np.geomspace(8, 1, 8), [1.0, 1e6], np.full(6, 1.0)])
    c = octl.lr.adaptive(window=2, warmup=0, brake=0.25, patience=3)
    result = octl.replay(c, {"loss": losses.astype(np.float32)})
    did = [Change(int(d)).name for d in result.gauges["decision"]]
    assert did[:8] == ["HOLD"] * 3 + ["INCREASE", "HOLD"] * 2 + ["INCREASE"]
    assert did[9] == "SPIKE"
    ratio = result.gauges["scale"][9] / result.gauges["scale_before"][9]
    assert ratio == 0.25
    per_update = np.log(8) / 7
    np.testing.assert_allclose(result.gauges["slope"][7], -per_update, rtol=1e-4)
    np.testing.assert_allclose(
        result.gauges["improvement"][7], 2 * per_update, rtol=1e-4
    )
    np.testing.assert_allclose(result.gauges["window_mean"][7], 8 ** (1 / 14), 1e-4)


def test_defaults_follow_from_the_length_of_the_run() -> None:
    losses = np.geomspace(4, 0.1, 300).astype(np.float32)
    plain, spelt = (
        octl.replay(octl.lr.adaptive(300, **more), {"loss": losses}).decisions.lr_scale
        for more in DEFAULTS
    )
    np.testing.assert_array_equal(plain, spelt)
    assert np.flatnonzero(plain != 1)[0] == 30 + 2 * 15 - 1


def test_presets_are_arguments() -> None:
    for preset in (octl.lr.CONSERVATIVE, octl.lr.AGGRESSIVE, octl.lr.MOE):
        octl.lr.adaptive(1000, **preset)
        limit = preset.get("max_change", 0.3)
        assert 1 - limit <= preset["decrease"] < preset["increase"] <= 1 + limit
    assert octl.lr.adaptive(1000, **octl.lr.MOE).signals == {"loss", "learning_rate"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 1},
        {"warmup": -1},
        {"patience": 0},
        {"increase": 1.0},
        {"decrease": 1.0},
        {"brake": 0.0},
        {"spike": 0.0},
        {"max_change": 0.0},
        {"max_rate": -1.0},
        {"scale": "sqrt"},
        {"nonfinite": "count"},
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`lr.adaptive\({name}=...\)` must be "):
        octl.lr.adaptive(100, **wrong)


def test_the_length_or_a_window_is_needed() -> None:
    with pytest.raises(ValueError, match="`total_steps`, or a `window`"):
        octl.lr.adaptive()


def test_a_rate_out_of_bounds_is_noticed_before_the_run() -> None:
    octl.lr.adaptive(100, **octl.lr.MOE, learning_rate=1e-3)
    with pytest.raises(
        ValueError, match=r"learning_rate=...\)` must be >= 1e-05 and <="
    ):
        octl.lr.adaptive(100, **octl.lr.MOE, learning_rate=0.1)


def test_the_pace_follows_the_loss() -> None:
    """Falling, turbulent, flat and falling again; what is chosen sets the next cut."""
    rng, size = np.random.default_rng(0), 8
    rough = 1 + rng.normal(size=4 * size)
    falls = np.linspace(3, 1, 4 * size)
    y = np.concatenate([falls, rough, np.ones(6 * size), falls - 3])
    how = {"window": size, "warmup": 0, "spike": 20.0}
    c = octl.lr.automatic(usual=how, careful={"decrease": 0.9}, bold={"decrease": 0.8})
    gauges = octl.replay(c, {"loss": np.exp(y).astype(np.float32)}).gauges
    at_ends = {name: np.asarray(g)[size - 1 :: size] for name, g in gauges.items()}
    pace, held, flat, cuts = 1, 0, 0, set()
    for i in range(1, len(at_ends["pace"])):
        if at_ends["decision"][i] == Change.DECREASE:
            cut = at_ends["scale"][i] / at_ends["scale_before"][i]
            cuts.add(pace)
            assert cut == pytest.approx({0: 0.9, 1: 0.7, 2: 0.8}[pace], rel=1e-5)
        held += 1
        flat = flat + 1 if at_ends["improvement"][i] < 0.001 else 0
        wish = 0 if at_ends["cv"][i] > 0.6 else 2 if flat >= 3 else 1
        if wish != pace and held >= 2:
            pace, held = wish, 0
        assert at_ends["pace"][i] == pace
    assert cuts == {0, 1, 2}


@pytest.mark.parametrize("key", ["window", "sliding", "steps"])
def test_what_cannot_change_in_a_run_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=rf"`lr.automatic\(bold\['{key}'\]=...\)`"):
        octl.lr.automatic(100, bold={key: 2})


def test_a_nan_after_a_window_ends_no_window() -> None:
    loss = np.ones(24, np.float32)
    plain = octl.lr.automatic(usual={"window": 4, "warmup": 0}, plateau=4)
    usual = octl.replay(plain, {"loss": loss}).gauges["pace"]
    broken = np.insert(loss, 8, [np.nan] * 6)
    found = octl.replay(plain, {"loss": broken}).gauges["pace"]
    np.testing.assert_array_equal(np.delete(found, slice(8, 14)), usual)
    assert usual[-1] == 2
