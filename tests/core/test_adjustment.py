import re
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

from optaxctl._core.adjustment import adjustment

STEPS = 60


def build(**changes: Any) -> Any:
    limits = {"floor": 0.0, "cooldown": 0, "max_adjustments": None}
    return adjustment("lr.x", **{**limits, **changes})


@partial(jax.jit, static_argnames="max_adjustments")
def _move(factors: Any, **limits: Any) -> Any:
    adjust = build(**limits)

    def body(state: Any, factor: Any) -> Any:
        ready = adjust.ready(state)
        state = adjust.update(factor, state)
        return state, (ready, state)

    return jax.lax.scan(body, adjust.init(), factors)[1]


def move(factors: Any, **limits: Any) -> Any:
    return jax.tree.map(np.asarray, _move(np.asarray(factors, np.float32), **limits))


@given(
    factors=st.lists(st.sampled_from([1, 0.5, 0.7, 1.1, 2]), min_size=STEPS).map(
        lambda some: some[:STEPS]
    ),
    floor=st.sampled_from([0.0, 0.125, 0.3, 1.0]),
    ceil=st.sampled_from([1.0, 1.5, 100.0]),
    cooldown=st.integers(0, 5),
    warmup=st.integers(0, 5),
    most=st.sampled_from([None, 1, 4]),
)
def test_matches_the_reference(
    factors: list[float], floor: float, ceil: float, cooldown: int, warmup: int,
    most: int | None,
) -> None:  # fmt: skip
    ready, state = move(
        factors,
        floor=floor,
        ceil=ceil,
        cooldown=cooldown,
        warmup=warmup,
        max_adjustments=most,
    )
    scale, made, quiet = np.float32(1), 0, 0
    for i, factor in enumerate(factors):
        assert ready[i] == (quiet == 0)
        target = np.clip(
            scale * np.float32(factor), np.float32(floor), np.float32(ceil)
        )
        if target != scale and not quiet and (most is None or made < most):
            quiet = cooldown if target < scale else warmup
            scale, made = target, made + 1
        else:
            quiet = max(quiet - 1, 0)
        assert (state.scale[i], state.made[i], state.quiet[i]) == (scale, made, quiet)


@given(
    factor=st.floats(0.01, 100),
    floor=st.floats(0, 1, width=32, allow_subnormal=False),
    ceil=st.floats(1, 10),
)
def test_the_bounds_are_those_of_the_product_of_all_adjustments(
    factor: float, floor: float, ceil: float
) -> None:
    _, state = move([factor] * STEPS, floor=floor, ceil=ceil)
    assert np.all(state.scale >= np.float32(floor))
    assert np.all(state.scale <= np.float32(ceil))


def test_refused_wishes_cost_nothing() -> None:
    at_floor = move([0.5] * 50, floor=1.0, cooldown=7, max_adjustments=1)[1]
    assert set(at_floor.made) == {0}
    assert set(at_floor.quiet) == {0}


def test_fifty_refused_raises_do_not_delay_the_next_cut() -> None:
    _, state = move([2.0] * 51 + [0.5], ceil=2.0, cooldown=3, warmup=9)
    assert state.scale[50] == 2
    assert state.scale[51] == 1


def braked(factors: Any, brakes: Any, bounds: Any, **limits: Any) -> Any:
    adjust = build(**limits)

    def body(state: Any, row: Any) -> Any:
        factor, brake, low, high = row
        state = adjust.update(factor, state, brake=brake, bounds=(low, high))
        return state, state.scale

    limit = np.array(bounds, np.float32)
    rows = (np.array(factors, np.float32), np.array(brakes), limit[:, 0], limit[:, 1])
    return np.asarray(jax.lax.scan(body, adjust.init(), rows)[1])


def test_only_the_brake_exceeds_the_largest_change_and_the_cooldown() -> None:
    wide = [(0, 100)] * 6
    factors, brakes = [0.5, 0.5, 0.5, 4, 4, 4], [0, 0, 1, 0, 0, 0]
    scale = braked(
        factors, np.bool_(brakes), wide, max_change=0.25, cooldown=2, ceil=100.0
    )
    np.testing.assert_array_equal(scale, [0.75, 0.75, 0.375, 0.375, 0.375, 0.46875])


def test_a_bound_that_moves_refuses_and_never_drags() -> None:
    """Above a falling ceiling nothing happens but cuts; likewise below a floor."""
    bounds = [(0.1, 4), (0.1, 1), (0.1, 1), (0.1, 1), (2, 9), (2, 9), (2, 9)]
    factors = [2, 2, 1, 0.75, 0.5, 1, 2]
    scale = braked(factors, np.zeros(7, bool), bounds, ceil=9.0)
    np.testing.assert_array_equal(scale, [2, 2, 2, 1.5, 1.5, 1.5, 3])


def test_a_change_by_eps_is_not_made() -> None:
    _, state = move([0.5] * 6, eps=0.125, cooldown=1)
    np.testing.assert_array_equal(state.scale, [0.5, 0.5, 0.25, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(state.made, [1, 1, 2, 2, 2, 2])


def test_exactly_cooldown_updates_are_ignored() -> None:
    _, state = move([0.5] * 9, cooldown=3)
    np.testing.assert_array_equal(state.made, [1, 1, 1, 1, 2, 2, 2, 2, 3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"floor": -0.1}, "floor=...)` must be >= 0 and <= 1, got -0.1"),
        ({"floor": 1.5}, "floor=...)` must be >= 0 and <= 1, got 1.5"),
        ({"ceil": 0.5}, "ceil=...)` must be >= 1, got 0.5"),
        ({"cooldown": -1}, "cooldown=...)` must be >= 0, got -1"),
        ({"cooldown": 1.5}, "cooldown=...)` must be a whole number >= 0, got 1.5"),
        ({"warmup": -1}, "warmup=...)` must be >= 0, got -1"),
        ({"max_change": 0}, "max_change=...)` must be > 0, got 0"),
        ({"eps": -1}, "eps=...)` must be >= 0, got -1"),
        ({"max_adjustments": 0}, "max_adjustments=...)` must be >= 1, got 0"),
    ],
)
def test_arguments_are_checked(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'`lr.x({message}.')}$"):
        build(**changes)
