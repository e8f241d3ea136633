"""Packing loses nothing, and no layout passes for another."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import optaxctl as octl
from optaxctl._core.packing import Layout

LEAVES = st.tuples(
    st.sampled_from(["float32", "int32", "bool"]),
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
)
TREES = st.dictionaries(
    st.text("abc", min_size=1, max_size=2), LEAVES, min_size=1, max_size=4
)


def filled(spec: Any, seed: int = 0, batch: tuple[int, ...] = ()) -> Any:
    rng = np.random.default_rng(seed)
    specials = np.array([np.nan, np.inf, -0.0, 1e-40, 2**24 + 1], np.float32)

    def leaf(kind: tuple[str, tuple[int, ...]]) -> np.ndarray:
        dtype, shape = kind
        if dtype == "float32":
            return rng.choice(specials, batch + shape)
        top = 2 if dtype == "bool" else 2**31 - 1
        return rng.integers(0, top, batch + shape).astype(dtype)

    tree = {name: leaf(kind) for name, kind in spec.items()}
    return {"scale": rng.choice(specials, batch), "inner": tree}


def assert_same(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a = np.asarray(a)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@settings(max_examples=20)  # every tree is another program
@given(spec=TREES, seed=st.integers(0, 99))
def test_unpack_is_the_inverse_of_pack(spec: Any, seed: int) -> None:
    tree = filled(spec, seed)
    layout = Layout(tree)
    f32, i32 = map(np.asarray, layout.pack(tree))
    assert (f32.dtype, i32.dtype, f32.ndim, i32.ndim) == ("float32", "int32", 1, 1)
    assert i32[0] == layout.fingerprint
    assert_same(layout.unpack(f32, i32), tree)


@settings(max_examples=10)
@given(spec=TREES)
def test_leading_axes_stay_in_front(spec: Any) -> None:
    layout = Layout(filled(spec))
    many = filled(spec, batch=(5,))
    assert_same(layout.unpack(*map(np.asarray, jax.vmap(layout.pack)(many))), many)


@given(spec=TREES)
def test_layouts_are_equal_by_value(spec: Any) -> None:
    a, b = Layout(filled(spec)), Layout(jax.eval_shape(lambda: filled(spec, seed=1)))
    assert a == b
    assert hash(a) == hash(b)
    assert a.fingerprint == b.fingerprint


def test_an_equal_layout_does_not_retrace() -> None:
    traces = []

    @jax.jit
    def step(layout: Layout, f32: Any, i32: Any) -> Any:
        traces.append(layout)
        return layout.pack(layout.unpack(f32, i32))

    for _ in range(2):
        tree = {"a": jnp.float32(1), "b": jnp.int32(2)}
        layout = Layout(tree)
        step(layout, *layout.pack(tree))
    assert len(traces) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"b": jnp.zeros(2), "a": jnp.ones(3), "flag": jnp.bool_(0)},
        {"a": jnp.zeros(2), "b": jnp.ones(3), "other": jnp.bool_(0)},
        {"a": jnp.zeros(2), "b": jnp.ones(3), "flag": jnp.int32(0)},
        {"a": jnp.zeros((2, 1)), "b": jnp.ones(3), "flag": jnp.bool_(0)},
    ],
    ids=["sizes", "name", "dtype", "shape"],
)
def test_fingerprints_tell_layouts_of_equal_size_apart(other: Any) -> None:
    layout = Layout({"a": jnp.zeros(2), "b": jnp.ones(3), "flag": jnp.bool_(0)})
    assert layout != Layout(other)
    assert layout.fingerprint != Layout(other).fingerprint


def test_two_controllers_that_swap_names_have_different_fingerprints() -> None:
    first, second = octl.stop.patience(2), octl.stop.patience(9, monitor="loss")
    layouts = [
        Layout(octl.together(**parts).init())
        for parts in ({"x": first, "z": second}, {"x": first, "y": second})
    ]
    assert layouts[0].fingerprint != layouts[1].fingerprint
