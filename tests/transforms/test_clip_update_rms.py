"""`transforms.clip_update_rms`: StableAdamW, tensor by tensor."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl

PARAMS = {"a": jnp.ones(3), "b": jnp.ones((2, 2)), "c": jnp.ones(())}
TAPE = 25


def gradients(seed: int, scale: float = 1.0) -> Any:
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = {name: p.shape for name, p in PARAMS.items()}
    grads = {
        n: jax.random.normal(k, shapes[n]) for n, k in zip(shapes, keys, strict=True)
    }
    a = (grads["a"] * scale).at[0].set(0)  # a unit that is dead from the start
    return {**grads, "a": a}


def tape() -> list[Any]:
    return [gradients(i, 30.0 if i >= 15 else 1.0) for i in range(TAPE)]


def run(tx: Any, grads: Any) -> Any:
    state, step = tx.init(PARAMS), jax.jit(tx.update)
    for g in grads:
        updates, state = step(g, state, PARAMS)
        yield updates, state


def reference(
    grads: Any, b1: float, b2: float, threshold: float, eps: float, decay: float
) -> Any:
    """Algorithm 2 of the paper, in float64, with the moments free of bias."""
    m = {n: np.zeros(p.shape) for n, p in PARAMS.items()}
    v = {n: np.zeros(p.shape) for n, p in PARAMS.items()}
    for t, g in enumerate(grads, 1):
        updates, found = {}, []
        for n, p in PARAMS.items():
            x = np.asarray(g[n], np.float64)
            m[n] = b1 * m[n] + (1 - b1) * x
            v[n] = b2 * v[n] + (1 - b2) * x * x
            vhat = v[n] / (1 - b2**t)
            rms = np.sqrt(np.mean(x * x / np.maximum(vhat, eps**2)))
            step = m[n] / (1 - b1**t) / (np.sqrt(vhat) + 1e-8) + decay * np.asarray(p)
            updates[n] = step / max(1, rms / threshold)
            found.append(rms)
        yield updates, found


@pytest.mark.parametrize(
    ("threshold", "b2", "decay"), [(1.0, 0.99, 0.0), (1.5, 0.9, 0.1)]
)
def test_matches_the_paper(threshold: float, b2: float, decay: float) -> None:
    inner = optax.chain(
        optax.scale_by_adam(b1=0.8, b2=b2),
        # A mask by name: the wrapper must not change the structure that it sees.
        optax.add_decayed_weights(decay, mask=dict.fromkeys(PARAMS, True)),
    )
    tx = octl.transforms.clip_update_rms(inner, threshold, eps=1e-6)
    expected = reference(tape(), 0.8, b2, threshold, 1e-6, decay)
    slowed = 0
    for (updates, state), (other, rms) in zip(run(tx, tape()), expected, strict=True):
        for name in PARAMS:
            np.testing.assert_allclose(updates[name], other[name], rtol=1e-4)
        np.testing.assert_allclose(state.rms, rms, rtol=1e-4)
        slowed += np.count_nonzero(np.asarray(rms) > threshold)
    assert 3 < slowed < 3 * TAPE - 3


def test_a_broken_tensor_harms_no_other() -> None:
    tx = octl.transforms.clip_update_rms(optax.scale_by_adam())
    broken = tape()
    for i, bad in ((3, jnp.nan), (7, jnp.inf)):
        broken[i] = {**broken[i], "b": broken[i]["b"].at[0, 0].set(bad)}
    for (updates, state), (healthy, other) in zip(
        run(tx, broken), run(tx, tape()), strict=True
    ):
        for name in ("a", "c"):
            np.testing.assert_array_equal(updates[name], healthy[name])
        np.testing.assert_array_equal(state.rms[jnp.array([0, 2])], other.rms[::2])
        assert np.all(np.isfinite(state.rms))
        assert state.weight == other.weight


def test_story_the_step_after_a_sudden_growth_is_bounded() -> None:
    """Adam's own update grows with the lag; slowed down, its RMS stays near one."""
    grads = [jax.tree.map(jnp.ones_like, PARAMS)] * 50
    grads += [jax.tree.map(lambda g: 100 * g, grads[0])] * 5
    adam = optax.scale_by_adam(b1=0.0, b2=0.999)
    plain = max(float(u["c"]) for u, _ in run(adam, grads))
    slow = max(
        float(u["c"]) for u, _ in run(octl.transforms.clip_update_rms(adam), grads)
    )
    assert plain > 7
    assert slow < 1.001


def test_inside_control_a_refused_step_leaves_it_as_it_was() -> None:
    inner = octl.transforms.clip_update_rms(optax.scale_by_adam())
    tx = octl.control(optax.chain(inner, optax.scale(-0.1)), octl.guard())
    state: Any = tx.init(PARAMS)
    step = jax.jit(tx.update)
    for i in range(3):
        _, state = step(gradients(i), state, PARAMS, value=1.0)
    after: Any = step(gradients(9), state, PARAMS, value=jnp.nan)[1]
    pairs = zip(jax.tree.leaves(state.inner), jax.tree.leaves(after.inner), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_types_and_shapes_stay_and_a_square_too_large_is_no_nan() -> None:
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones((), jnp.complex64)}
    tx = octl.transforms.clip_update_rms(optax.scale_by_adam())
    state, step = tx.init(params), jax.jit(tx.update)
    for scale in (1.0, 1e25, 1.0):
        grads = jax.tree.map(lambda p, s=scale: (p * s).astype(p.dtype), params)
        updates, new = step(grads, state, params)
        kind = lambda tree: [
            (x.dtype, x.shape, x.weak_type) for x in jax.tree.leaves(tree)
        ]
        assert kind((updates, new)) == kind((params, state))
        assert np.all(np.isfinite(new.rms))
        assert np.all(np.isfinite(np.asarray(updates["a"], np.float32)))
        state = new


def test_no_parameters() -> None:
    tx = octl.transforms.clip_update_rms(optax.scale_by_adam())
    assert tx.update({}, tx.init({}))[0] == {}


def test_arguments_are_checked() -> None:
    wrap = octl.transforms.clip_update_rms
    for name in ("threshold", "eps"):
        with pytest.raises(ValueError, match=rf"`transforms.clip_update_rms\({name}="):
            wrap(optax.scale_by_adam(), **{name: 0.0})
    with pytest.raises(ValueError, match="must keep a second moment `nu`"):
        wrap(optax.scale_by_lion()).init(PARAMS)
