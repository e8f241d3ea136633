import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from optaxctl._core.improvement import improvement
from tests.core.reference import improvements
from tests.core.strategies import margins, tapes

RULES = list(itertools.product(("min", "max"), ("count", "ignore")))


@partial(jax.jit, static_argnames=("mode", "nonfinite", "cumulative"))
def judge(xs: Any, **rule: Any) -> Any:
    test = improvement("test", **rule)

    def body(state: Any, x: Any) -> Any:
        improved, state = test.update(x, state)
        return state, (improved, state.stale, test.to_beat(state))

    return jax.lax.scan(body, test.init(), xs)[1]


@pytest.mark.parametrize(("mode", "nonfinite"), RULES)
@given(xs=tapes(), atol=margins, rtol=margins)
def test_matches_the_reference(
    xs: Any, mode: str, nonfinite: str, atol: float, rtol: float
) -> None:
    rule: Any = {"mode": mode, "atol": atol, "rtol": rtol, "nonfinite": nonfinite}
    improved, stale, to_beat = judge(xs, **rule)
    expected = list(improvements(xs, **rule))
    np.testing.assert_array_equal(improved, [v.improved for v in expected])
    np.testing.assert_array_equal(stale, [v.stale for v in expected])
    np.testing.assert_allclose(to_beat, [v.to_beat for v in expected], rtol=1e-6)


@given(xs=tapes(), atol=margins, baseline=st.sampled_from([-2.0, 0.0, 0.5, 3.0]))
def test_small_gains_that_do_not_add_up_and_a_baseline(
    xs: Any, atol: float, baseline: float
) -> None:
    rule: Any = {"mode": "max", "atol": atol, "rtol": 0.125, "nonfinite": "count"}
    rule |= {"cumulative": False, "baseline": baseline}
    improved, stale, to_beat = judge(xs, **rule)
    expected = list(improvements(xs, **rule))
    np.testing.assert_array_equal(improved, [v.improved for v in expected])
    np.testing.assert_array_equal(stale, [v.stale for v in expected])
    np.testing.assert_allclose(to_beat, [v.to_beat for v in expected], rtol=1e-6)


@pytest.mark.parametrize("mode", ["min", "max"])
@given(xs=tapes(broken=False, steps=8), rtol=st.sampled_from([0.0, 0.125]))
def test_to_beat_is_the_bar_of_the_next_value(xs: Any, mode: Any, rtol: float) -> None:
    test = improvement("test", mode=mode, atol=0.25, rtol=rtol, nonfinite="count")
    state = test.init()
    for x in xs:
        _, state = test.update(jnp.asarray(x), state)
    bar = test.to_beat(state)
    better = -jnp.inf if mode == "min" else jnp.inf
    assert not test.update(bar, state)[0]
    assert test.update(jnp.nextafter(bar, better), state)[0]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_an_all_nan_start_has_no_best(mode: Any) -> None:
    test = improvement("test", mode=mode, atol=0.0, rtol=0.5, nonfinite="count")
    state = test.init()
    for _ in range(3):
        improved, state = test.update(jnp.float32(jnp.nan), state)
        assert not improved
    assert not state.seen
    assert state.stale == 3
    assert test.update(jnp.float32(1e30), state)[0]


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"mode": "maximum"}, "mode"),
        ({"nonfinite": "stop"}, "nonfinite"),
        ({"atol": -1.0}, "atol"),
        ({"rtol": float("nan")}, "rtol"),
        ({"atol": float("inf")}, "atol"),
    ],
)
def test_arguments_are_checked(changes: Any, argument: str) -> None:
    rule: Any = {"mode": "min", "atol": 0.0, "rtol": 0.0, "nonfinite": "count"}
    with pytest.raises(ValueError, match=rf"`lr.x\({argument}=...\)` must be"):
        improvement("lr.x", **{**rule, **changes})
