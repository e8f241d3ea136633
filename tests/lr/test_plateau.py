import itertools
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from tests.core.reference import improvements
from tests.core.strategies import margins, tapes, updates

RULES = list(itertools.product(("min", "max"), ("count", "ignore")))


@partial(jax.jit, static_argnames=("mode", "nonfinite"))
def replayed(xs: Any, updates: Any, **arguments: Any) -> Any:
    return octl.replay(octl.lr.plateau(updates, **arguments), {"val_loss": xs})


def scales(
    xs: Any, updates: int, *, factor: float, floor: float, cooldown: int,
    eps: float, recover: int, max_adjustments: int, **rule: Any
) -> Any:  # fmt: skip
    """Yields the scale, the adjustments and the count after each update."""
    scale, made, quiet, stale, gains = np.float32(1), 0, 0, 0, 0
    for verdict in improvements(xs, **rule):
        stale = 0 if verdict.improved or quiet else stale + verdict.counted
        wanted, ready = stale >= updates, not quiet
        gains += verdict.improved
        gives = recover > 0 and gains >= recover and not wanted
        factor_ = np.float32(factor) if wanted else 1 / np.float32(factor)
        target = np.clip(scale * factor_, np.float32(floor), 1)
        quiet = max(quiet - 1, 0)
        far = abs(target - scale) > np.float32(eps)
        if (wanted or gives) and ready and far and made < max_adjustments:
            quiet = cooldown if target < scale else 0
            scale, made = target, made + 1
        gains = 0 if wanted or gives else gains
        stale = 0 if wanted else stale
        yield scale, made, updates - stale


@pytest.mark.parametrize(("mode", "nonfinite"), RULES)
@given(
    xs=tapes(),
    updates=updates,
    atol=margins,
    rtol=margins,
    factor=st.sampled_from([0.5, 0.3, 0.9]),
    floor=st.sampled_from([0.0, 0.25, 0.4]),
    cooldown=st.integers(0, 5),
    eps=st.sampled_from([0.0, 0.0, 0.1]),
    recover=st.sampled_from([0, 1, 3]),
    max_adjustments=st.integers(1, 5),
)
def test_matches_the_reference(
    xs: Any, updates: int, mode: str, nonfinite: str, **arguments: Any
) -> None:
    arguments |= {"mode": mode, "nonfinite": nonfinite}
    result = replayed(xs, updates, **arguments)
    expected = list(zip(*scales(xs, updates, **arguments), strict=True))
    np.testing.assert_array_equal(result.decisions.lr_scale, expected[0])
    np.testing.assert_array_equal(result.gauges["scale"], expected[0])
    np.testing.assert_array_equal(result.gauges["adjustments"], expected[1])
    np.testing.assert_array_equal(result.gauges["patience_left"], expected[2])


def test_story() -> None:
    """It stalls from 2 on: cut at 4, quiet at 5 and 6, cut at 8, healed by 9."""
    losses = np.array([3, 2, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.5], np.float32)
    c = octl.lr.plateau(2, factor=0.5, cooldown=2)
    scale = octl.replay(c, {"val_loss": losses}).decisions.lr_scale
    np.testing.assert_array_equal(
        scale, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    )


def test_cuts_are_given_back() -> None:
    """Cut at 2 and 3; every second gain gives one back, up to 1."""
    losses = np.array([9, 9, 9, 9, 8, 7, 6, 5, 4, 3], np.float32)
    c = octl.lr.plateau(1, factor=0.5, recover=2, max_adjustments=9, floor=0.25)
    scale = octl.replay(c, {"val_loss": losses}).decisions.lr_scale
    np.testing.assert_array_equal(scale, [1, 0.5, 0.25, 0.25, 0.25, 0.5, 0.5, 1, 1, 1])


def test_an_improvement_in_the_cooldown_is_remembered() -> None:
    losses = np.array([2, 2, 1, 1.5, 1.5, 1.5], np.float32)
    c = octl.lr.plateau(1, factor=0.5, cooldown=1)
    scale = octl.replay(c, {"val_loss": losses}).decisions.lr_scale
    np.testing.assert_array_equal(scale, [1, 0.5, 0.5, 0.25, 0.25, 0.125])


def test_fifty_refused_cuts_leave_no_trace() -> None:
    c = octl.lr.plateau(1, factor=0.5, max_adjustments=1, cooldown=4)
    early, late = (octl.replay(c, {"val_loss": np.ones(n)}).state for n in (6, 56))
    assert early == late
    assert (early.adjustment.made, early.adjustment.quiet) == (1, 0)


def test_negative_metrics_need_a_real_improvement() -> None:
    """-100.005 is within 1e-4 of -100; torch calls -99.995 an improvement."""
    c = octl.lr.plateau(2, factor=0.5, rtol=1e-4)
    values = {"val_loss": np.array([-100, -99.995, -100.005], np.float32)}
    scale = octl.replay(c, values).decisions.lr_scale
    np.testing.assert_array_equal(scale, [1, 1, 0.5])


@pytest.mark.parametrize("argument", [{"updates": 0}, {"factor": 1.0}, {"floor": 2.0}])
def test_arguments_are_checked(argument: Any) -> None:
    (name,) = argument
    with pytest.raises(ValueError, match=rf"`lr.plateau\({name}=...\)` must be"):
        octl.lr.plateau(**argument)


@pytest.mark.parametrize(
    ("like", "wrong"),
    [
        (octl.lr.like_torch, {"min_lr": -1.0}),
        (octl.lr.like_torch, {"threshold": -1.0}),
        (octl.lr.like_keras, {"min_delta": -1.0}),
        (octl.lr.like_keras, {"min_lr": -1.0}),
    ],
)
def test_wrong_arguments_of_other_libraries_are_named(like: Any, wrong: Any) -> None:
    (name,) = wrong
    with pytest.raises(
        ValueError, match=rf"{like.__name__}\({name}=...\)` must be >= 0"
    ):
        like(**wrong)
