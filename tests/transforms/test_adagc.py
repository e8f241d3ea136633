from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl

PARAMS = {"a": jnp.ones(3), "b": {"c": jnp.ones((2, 2)), "d": jnp.ones(())}}


def gradients(seed: int, scale: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    draw = lambda p: jnp.asarray(scale * rng.normal(size=p.shape), p.dtype)
    return jax.tree.map(draw, PARAMS)


def reference(
    tape: Any, ratio: float, decay: float, warmup: int, most: float, eps: float
) -> Any:
    """Yields the clipped tensors and their running norms, one by one in float64."""
    gamma: list[Any] = [np.inf] * 3
    for step, grads in enumerate(tape):
        leaves = [np.asarray(g, np.float64) for g in jax.tree.leaves(grads)]
        n = [np.linalg.norm(g) for g in leaves]
        for i in range(3):
            if step < warmup:
                scale = min(1, most / (np.linalg.norm(n) + eps))
                gamma[i] = min(gamma[i], n[i] * scale)
            else:
                limit = ratio * gamma[i]
                scale = limit / (n[i] + eps) if n[i] > limit else 1
                gamma[i] = decay * gamma[i] + (1 - decay) * min(n[i], limit)
            leaves[i] = leaves[i] * scale
        yield leaves, list(gamma)


def run(tx: Any, tape: Any) -> Any:
    state, step = tx.init(PARAMS), jax.jit(tx.update)
    for grads in tape:
        updates, state = step(grads, state)
        yield updates, state


@pytest.mark.parametrize("ratio", [1.04, 1.5])
@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_matches_the_reference(ratio: float, decay: float) -> None:
    tape = [gradients(i, 10.0 if i in (7, 12) else 1.0) for i in range(20)]
    tx = octl.transforms.adagc(ratio, decay=decay, warmup_steps=5, max_norm=2.0)
    expected = reference(tape, ratio, decay, 5, 2.0, 1e-6)
    for (updates, state), (leaves, gamma) in zip(run(tx, tape), expected, strict=True):
        for ours, theirs in zip(jax.tree.leaves(updates), leaves, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        np.testing.assert_allclose(state.norms, gamma, rtol=1e-5)


@pytest.mark.parametrize("at", [2, 8])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_tensor_harms_no_other_and_is_forgotten(at: int, bad: float) -> None:
    tape = [gradients(i) for i in range(12)]
    broken = [*tape[:at], {**tape[at], "a": jnp.full(3, bad)}, *tape[at + 1 :]]
    tx = octl.transforms.adagc(1.5, warmup_steps=5, max_norm=1e6)
    *_, (_, state) = run(tx, broken)
    *_, (_, healthy) = run(tx, tape)
    assert np.all(np.isfinite(state.norms))
    np.testing.assert_array_equal(state.norms[1:], healthy.norms[1:])


def test_inside_control_a_refused_step_leaves_it_as_it_was() -> None:
    inner = optax.chain(octl.transforms.adagc(warmup_steps=2), optax.adam(0.1))
    tx = octl.control(inner, octl.guard())
    params: Any = PARAMS
    state: Any = tx.init(params)
    step = jax.jit(tx.update)
    for i in range(4):
        _, state = step(gradients(i), state, params, value=1.0)
    _, after = step(gradients(9), state, params, value=jnp.nan)
    pairs = zip(jax.tree.leaves(state.inner), jax.tree.leaves(after.inner), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_types_and_shapes_stay() -> None:
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones((), jnp.complex64)}
    tx: Any = octl.transforms.adagc(warmup_steps=1)
    state = tx.init(params)
    for _ in range(3):
        updates, new = jax.jit(tx.update)(params, state)
        same = lambda a, b: (a.dtype, a.shape, a.weak_type) == (
            b.dtype, b.shape, b.weak_type,
        )  # fmt: skip
        assert all(jax.tree.leaves(jax.tree.map(same, (updates, new), (params, state))))
        state = new


def test_it_traces_once_and_runs_over_seeds() -> None:
    tx: Any = octl.transforms.adagc(warmup_steps=2)
    states = jax.vmap(tx.init)(jax.tree.map(lambda p: jnp.stack([p, p]), PARAMS))
    updates: Any = None
    both = jax.tree.map(lambda *g: jnp.stack(g), gradients(0), gradients(1))
    traces = []

    @jax.jit
    def step(grads: Any, states: Any) -> Any:
        traces.append(None)
        return jax.vmap(tx.update)(grads, states)

    for _ in range(4):
        updates, states = step(both, states)
    *_, (alone, _) = run(tx, [gradients(1)] * 4)
    assert len(traces) == 1
    np.testing.assert_allclose(updates["a"][1], alone["a"], rtol=1e-6)


def test_no_parameters() -> None:
    tx = octl.transforms.adagc()
    assert tx.update({}, tx.init({}))[0] == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratio": 1.0},
        {"decay": 1.0},
        {"warmup_steps": 0},
        {"max_norm": 0.0},
        {"eps": -1.0},
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`transforms.adagc\({name}=...\)` must be "):
        octl.transforms.adagc(**wrong)
