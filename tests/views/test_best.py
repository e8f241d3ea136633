"""`keep_best` keeps the parameters of the best value, bit for bit."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl

VALUES = st.lists(
    st.one_of(
        st.floats(-1e3, 1e3, width=32, allow_subnormal=False),
        st.sampled_from([np.nan, np.inf, -np.inf]),
    ),
    min_size=8,
    max_size=8,
)


@functools.cache
def scan(mode: Any) -> Any:
    keeper = octl.keep_best(mode)

    @jax.jit
    def run(values: Any) -> Any:
        def body(state: Any, row: Any) -> Any:
            index, value = row
            improved, state = keeper.update(value, {"p": index}, state)
            return state, improved

        start = keeper.init({"p": jnp.int32(-1)})
        state, improved = jax.lax.scan(body, start, (jnp.arange(len(values)), values))
        return state.params["p"], keeper.value(state), improved

    return run


@pytest.mark.parametrize("mode", ["min", "max"])
@given(values=VALUES)
def test_it_keeps_the_first_of_the_best_finite_values(mode: str, values: Any) -> None:
    found = scan(mode)(np.asarray(values, np.float32))
    kept, value, improved = jax.device_get(found)
    sign = 1 if mode == "min" else -1
    finite = [(sign * v, i) for i, v in enumerate(values) if np.isfinite(v)]
    best, where = min(finite, default=(np.inf, -1))
    assert kept == where
    assert value == sign * best
    # At the last improvement the best was found.
    assert (np.flatnonzero(improved)[-1] if improved.any() else -1) == where


def test_the_copy_is_its_own_so_that_both_can_be_donated() -> None:
    keeper = octl.keep_best()
    params = {"w": jnp.arange(3.0), "half": jnp.ones(2, jnp.bfloat16)}
    state = keeper.init(params)
    step = jax.jit(
        lambda state, params: keeper.update(1.0, params, state)[1], donate_argnums=0
    )
    after = step(state, params)
    assert after.params["half"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(params["w"], after.params["w"])


def test_it_is_vmapped_over_members() -> None:
    keeper = octl.keep_best()
    state = jax.vmap(keeper.init)({"p": jnp.zeros(3)})
    _, state = jax.vmap(keeper.update)(
        jnp.array([1.0, jnp.nan, 3.0]), {"p": jnp.array([7.0, 8.0, 9.0])}, state
    )
    np.testing.assert_array_equal(state.params["p"], [7, 0, 9])
