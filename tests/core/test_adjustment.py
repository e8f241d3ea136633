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
    limits = {"factor": 0.5, "floor": 0.0, "cooldown": 0, "max_adjustments": None}
    return adjustment("lr.x", **{**limits, **changes})


@partial(jax.jit, static_argnames="max_adjustments")
def _move(wanted: Any, **limits: Any) -> Any:
    adjust = build(**limits)

    def body(state: Any, wish: Any) -> Any:
        ready = adjust.ready(state)
        state = adjust.update(wish, state)
        return state, (ready, state)

    return jax.lax.scan(body, adjust.init(), wanted)[1]


def move(wanted: Any, **limits: Any) -> Any:
    return jax.tree.map(np.asarray, _move(wanted, **limits))


@given(
    wanted=st.lists(st.booleans(), min_size=STEPS, max_size=STEPS),
    factor=st.sampled_from([0.1, 0.5, 0.7]),
    floor=st.sampled_from([0.0, 0.125, 0.3, 1.0]),
    cooldown=st.integers(0, 5),
    most=st.sampled_from([None, 1, 4]),
)
def test_matches_the_reference(
    wanted: list[bool], factor: float, floor: float, cooldown: int, most: int | None
) -> None:
    ready, state = move(
        np.array(wanted),
        factor=factor,
        floor=floor,
        cooldown=cooldown,
        max_adjustments=most,
    )
    scale, made, quiet = np.float32(1), 0, 0
    for i, wish in enumerate(wanted):
        assert ready[i] == (quiet == 0)
        target = np.maximum(scale * np.float32(factor), np.float32(floor))
        if wish and not quiet and target < scale and (most is None or made < most):
            scale, made, quiet = target, made + 1, cooldown
        else:
            quiet = max(quiet - 1, 0)
        assert (state.scale[i], state.made[i], state.quiet[i]) == (scale, made, quiet)


@given(factor=st.floats(0.01, 0.99), floor=st.floats(0, 1))
def test_the_floor_bounds_the_product_of_all_adjustments(
    factor: float, floor: float
) -> None:
    _, state = move(np.ones(STEPS, bool), factor=factor, floor=floor)
    assert np.all(state.scale >= np.float32(floor))


def test_refused_wishes_cost_nothing() -> None:
    refused = np.ones(50, bool)
    at_floor = move(refused, floor=1.0, cooldown=7, max_adjustments=1)[1]
    assert set(at_floor.made) == {0}
    assert set(at_floor.quiet) == {0}


def test_exactly_cooldown_updates_are_ignored() -> None:
    _, state = move(np.ones(9, bool), cooldown=3)
    np.testing.assert_array_equal(state.made, [1, 1, 1, 1, 2, 2, 2, 2, 3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factor": 1.0}, "factor=...)` must be > 0 and < 1, got 1.0"),
        ({"factor": 0.0}, "factor=...)` must be > 0 and < 1, got 0.0"),
        ({"factor": float("nan")}, "factor=...)` must be > 0 and < 1, got nan"),
        ({"floor": -0.1}, "floor=...)` must be >= 0, got -0.1"),
        ({"floor": 1.5}, "floor=...)` must be <= 1, got 1.5"),
        ({"cooldown": -1}, "cooldown=...)` must be >= 0, got -1"),
        ({"cooldown": 1.5}, "cooldown=...)` must be a whole number >= 0, got 1.5"),
        ({"max_adjustments": 0}, "max_adjustments=...)` must be >= 1, got 0"),
    ],
)
def test_arguments_are_checked(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'`lr.x({message}.')}$"):
        build(**changes)
