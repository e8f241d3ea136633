import jax
import numpy as np
import pytest

import optaxctl as octl
from optaxctl import StopReason


@pytest.mark.parametrize("mode", ["min", "max"])
def test_matches_the_reference(mode: str) -> None:
    rng = np.random.default_rng(0)
    xs = (np.cumsum(rng.integers(-2, 2, 300)) / 4).astype(np.float32)
    xs[rng.random(300) < 0.1] = np.nan
    xs[rng.random(300) < 0.05] = np.inf
    how = {"atol": 0.25, "rtol": 0.125}
    c = octl.stop.small_gain(2, mode=mode, **how)  # pyright: ignore[reportArgumentType]
    stops = jax.jit(lambda x: octl.replay(c, {"val_loss": x}).decisions.stop)(xs)
    last, n, expected = None, 0, []
    for x in xs.tolist():
        if np.isfinite(x):
            if last is not None:
                gain = last - x if mode == "min" else x - last
                small = gain <= how["atol"] + how["rtol"] * abs(last)
                n = n + 1 if small else 0
            last = x
        expected.append(StopReason.SMALL_GAIN if n >= 2 else 0)
    np.testing.assert_array_equal(stops, expected)
    assert 0 < np.count_nonzero(stops) < 300


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"atol": -1.0}, {"rtol": np.nan}])
def test_arguments_are_checked(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`stop.small_gain\({name}=...\)` must be"):
        octl.stop.small_gain(**wrong)  # pyright: ignore[reportArgumentType]
