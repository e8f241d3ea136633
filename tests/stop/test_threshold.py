from typing import Any

import jax
import numpy as np
import pytest

import optaxctl as octl
from optaxctl import StopReason


def in_a_row(across: np.ndarray, updates: int) -> np.ndarray:
    counts, n = [], 0
    for yes in across:
        n = n + 1 if yes else 0
        counts.append(n)
    return np.array(counts) >= updates


def test_matches_the_reference() -> None:
    rng = np.random.default_rng(0)
    xs = rng.integers(-3, 4, 300).astype(np.float32)
    xs[rng.random(300) < 0.1] = np.nan
    xs[rng.random(300) < 0.1] = np.inf
    xs[rng.random(300) < 0.1] = -np.inf
    finite = np.isfinite(xs)
    cases: dict[Any, Any] = {
        (octl.stop.target, "min", 2): finite & (xs <= -1),
        (octl.stop.target, "max", 2): finite & (xs >= -1),
        (octl.stop.limit, "min", 3): xs > -1,
        (octl.stop.limit, "max", 3): xs < -1,
    }
    rules = {
        f"{rule.__name__}_{mode}": rule(-1.0, updates=n, mode=mode)
        for rule, mode, n in cases
    }
    rules["nonfinite"] = octl.stop.nonfinite(2)
    runs = {n: jax.jit(lambda x, c=c: octl.replay(c, x)) for n, c in rules.items()}
    found = {n: run({"val_loss": xs}) for n, run in runs.items()}
    for (rule, mode, n), across in cases.items():
        bit = StopReason.TARGET if rule is octl.stop.target else StopReason.LIMIT
        stops = found[f"{rule.__name__}_{mode}"].decisions.stop
        np.testing.assert_array_equal(stops, np.where(in_a_row(across, n), bit, 0))
        assert stops.any()
    stops = found["nonfinite"].decisions.stop
    bit = StopReason.NONFINITE
    np.testing.assert_array_equal(stops, np.where(in_a_row(~finite, 2), bit, 0))


@pytest.mark.parametrize("rule", ["target", "limit"])
def test_arguments_are_checked(rule: str) -> None:
    factory = getattr(octl.stop, rule)
    with pytest.raises(ValueError, match=rf"`stop.{rule}\(value=...\)` must be finite"):
        factory(float("nan"))
    with pytest.raises(ValueError, match=rf"`stop.{rule}\(updates=...\)` must be >= 1"):
        factory(1.0, updates=0)
    with pytest.raises(ValueError, match=rf"`stop.{rule}\(mode=...\)` must be 'min'"):
        factory(1.0, mode="auto")
