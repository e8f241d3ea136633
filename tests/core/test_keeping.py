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
        st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0]),
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
        return keeper.params(state)["p"], keeper.value(state), improved

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


MIXED = {
    "w": jnp.array([1.0, -0.0, jnp.nan]),
    "half": jnp.ones(2, jnp.bfloat16),
    "count": jnp.ones((), jnp.int8),
    "mask": jnp.array([True, False]),
    "key": jax.random.key(0),
}


def changed(params: dict[str, Any]) -> dict[str, Any]:
    new = {name: params[name] + 1 for name in ("w", "half", "count")}
    return {**new, "mask": ~params["mask"], "key": jax.random.split(params["key"])[0]}


def bits(tree: dict[str, Any]) -> dict[str, Any]:
    raw = {**tree, "key": jax.random.key_data(tree["key"])}
    return {n: (tree[n].dtype, np.asarray(x).tobytes()) for n, x in raw.items()}


def places(tree: Any) -> set[str]:
    return {leaf.sharding.memory_kind for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("memory", ["device", "host"])
def test_every_type_is_kept_where_it_should_be_and_may_be_donated(memory: Any) -> None:
    keeper = octl.keep_best(memory=memory)

    def train(params: Any, state: Any, value: Any) -> Any:
        _, state = keeper.update(value, params, state)
        return changed(params), state

    step = jax.jit(train, donate_argnums=(0, 1))
    # Compiled too, where a result that is an argument would share its buffer.
    for init in (keeper.init, jax.jit(keeper.init)):
        params = jax.tree.map(jnp.array, MIXED)
        state = init(params)
        seen = []
        for value in (0.9, 0.5, np.nan, 0.7, 0.5):
            seen.append(bits(params))
            params, state = step(params, state, value)
        assert places(state.params) == {"pinned_host" if memory == "host" else "device"}
        restored = keeper.params(state)
        assert places(restored) == {"device"}
        assert bits(restored) == seen[1]
        # Training goes on from what was restored, beside the state that it came from.
        params, state = step(restored, state, 0.6)
        assert bits(keeper.params(state)) == seen[1]
        assert bits(params) == seen[2]


def test_without_a_copy_it_says_when_to_save(tmp_path: Any) -> None:
    keeper = octl.keep_best("max", memory=None)
    params = {"w": jnp.zeros(2)}
    state = keeper.init(params)
    with octl.checkpoint.Checkpoints(tmp_path) as best:
        for step, score in enumerate((np.nan, 0.5, 0.8, 0.8, np.inf, 0.6)):
            params = {"w": jnp.full(2, 1.0 * step)}
            improved, state = keeper.update(score, params, state)
            if improved:
                best.save(step, params)
        restored, _ = best.restore(params)
    np.testing.assert_array_equal(restored["w"], [2, 2])
    assert keeper.value(state) == np.float32(0.8)
    assert keeper.params(state) is None


@pytest.mark.parametrize("memory", ["device", "host"])
def test_every_lane_keeps_its_own(memory: Any) -> None:
    keeper = octl.keep_best(memory=memory)
    nan = jnp.nan
    tape = jnp.array([[1.0, 3.0, 2.0], [nan, nan, nan], [nan, 3.0, 1.0]])
    state = jax.vmap(keeper.init)({"p": jnp.full(3, -1.0)})
    update = jax.jit(jax.vmap(keeper.update))
    for step in range(3):
        _, state = update(tape[:, step], {"p": jnp.full(3, 1.0 * step)}, state)
    np.testing.assert_array_equal(keeper.params(state)["p"], [0, -1, 2])
    np.testing.assert_array_equal(keeper.value(state), [1, np.inf, 1])


def test_an_unknown_memory_is_named() -> None:
    with pytest.raises(ValueError, match=r"keep_best\(memory=...\).*got 'disk'"):
        octl.keep_best(memory="disk")  # pyright: ignore[reportArgumentType]
