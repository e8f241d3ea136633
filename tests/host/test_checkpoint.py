"""What is restored is what was saved, bit for bit, or an error that names the path."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import optaxctl as octl
from optaxctl.host._extras import MissingExtra


def tree():
    params = {"w": jnp.arange(3.0), "half": jnp.full((2,), 0.1, jnp.bfloat16)}
    tx = octl.control(optax.adam(1e-3), octl.guard())
    grads = jax.tree.map(jnp.ones_like, params)
    state = tx.update(grads, tx.init(params), params, value=jnp.nan)[1]
    return {
        "carry": (params, state),
        "key": jax.random.key(7),
        "odd": jnp.array([jnp.nan, -jnp.inf, -0.0, 1e-42]),
        "flag": jnp.array(True),
        "large": jnp.int32(2**31 - 1),
        "count": 3,
    }


def bits(x):
    if jnp.issubdtype(getattr(x, "dtype", np.dtype(int)), jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    x = np.asarray(x)
    return x.dtype, x.shape, x.tobytes()


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert bits(x) == bits(y)


def test_a_new_process_gets_back_every_bit_and_the_notes(tmp_path):
    notes = {"epoch": {"val_loss": 0.1 + 0.2, "seen": [1, None]}}
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(12, tree(), notes)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        template = {**jax.tree.map(jnp.zeros_like, tree()), "count": 0}
        # A control state of zeros has no fingerprint, so the fresh one is the template.
        template["carry"] = tree()["carry"]
        restored, read_back = checkpoints.restore(template)
    assert_same_bits(restored, tree())
    assert read_back == notes


def test_donating_the_tree_after_save_does_not_reach_the_file(tmp_path):
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        x = jnp.arange(100_000.0)
        checkpoints.save(1, {"x": x})
        jax.jit(lambda x: x * 0, donate_argnums=0)(x).block_until_ready()
        restored, _ = checkpoints.restore({"x": jnp.zeros(100_000)})
    assert_same_bits(restored, {"x": jnp.arange(100_000.0)})


@pytest.mark.parametrize(("keep", "left"), [(1, [3]), (2, [2, 3])])
def test_only_the_latest_are_kept(tmp_path, keep, left):
    with octl.checkpoint.Checkpoints(tmp_path, keep=keep) as checkpoints:
        assert checkpoints.latest() is None
        for step in (1, 2, 3):
            checkpoints.save(step, {"x": jnp.float32(step)})
        assert checkpoints.latest() == 3
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == left
    with octl.checkpoint.Checkpoints(tmp_path, keep=keep) as checkpoints:
        restored, _ = checkpoints.restore({"x": jnp.float32(0)}, step=left[0])
    assert restored["x"] == left[0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            {"a": jnp.zeros(2, jnp.int32), "b": {"c": jnp.zeros(())}},
            r"`a` is float32\[2\] there and int32\[2\] here",
        ),
        (
            {"a": jnp.zeros(3), "b": {"c": jnp.zeros(())}},
            r"`a` is float32\[2\] there and float32\[3\] here",
        ),
        (
            {"a": jnp.zeros(2), "b": {"c": jnp.zeros((), jnp.bfloat16)}},
            r"`b/c` is float32\[\] there and bfloat16\[\] here",
        ),
        (
            {"a": jnp.zeros(2), "b": {"c": 0}},
            r"`b/c` is float there and int here",
        ),
        ({"x": jnp.zeros(2)}, "it holds `a`, `b/c` and the template `x`"),
    ],
)
def test_a_misfit_names_the_path_and_both_sides(tmp_path, template, message):
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"a": jnp.ones(2), "b": {"c": jnp.ones(())}})
        with pytest.raises(ValueError, match=f"step 5 in .*: {message}.*start anew"):
            checkpoints.restore(template)


def test_what_is_new_or_gone_is_said_in_one_warning(tmp_path):
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"a": jnp.ones(2), "gone": jnp.ones(()), "n": 7})
        with pytest.warns(UserWarning, match="step 5 has other leaves") as said:
            found, _ = checkpoints.restore(
                {"a": jnp.zeros(2), "new": jnp.full((), 3.0), "n": 0}
            )
        assert str(said[0].message).endswith(
            ": `new` starts at its initial value; `gone` was dropped."
        )
        assert len(said) == 1
        assert_same_bits(found, {"a": jnp.ones(2), "new": jnp.full((), 3.0), "n": 7})


def test_a_chain_that_grew_keeps_its_moments(tmp_path):
    params = {"w": jnp.ones(3), "b": jnp.ones(2)}
    grads = jax.tree.map(lambda x: 0.5 * x, params)
    adam = optax.adam(0.1)
    grown = optax.chain(optax.clip(1.0), optax.ema(0.9), adam)
    state: Any = adam.update(grads, adam.init(params))[1]
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"opt": state})
        with pytest.warns(UserWarning, match="`opt/2/0/mu/b` is `opt/0/mu/b` there"):
            (found,) = checkpoints.restore({"opt": grown.init(params)})[0].values()
    assert_same_bits((found[2][0].mu, found[2][0].nu), (state[0].mu, state[0].nu))
    initial: Any = grown.init(params)
    assert_same_bits(found[1], initial[1])


def test_plain_orbax_is_read_too(tmp_path):
    params = jnp.arange(3.0)
    tx = octl.control(optax.adam(1e-3), octl.guard())
    saved = {"opt": tx.update(params, tx.init(params), params, value=jnp.nan)[1]}
    manager = ocp.CheckpointManager(tmp_path)
    manager.save(3, args=ocp.args.StandardSave(saved))
    manager.close()
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        found, notes = checkpoints.restore({"opt": tx.init(params)})
    assert_same_bits(found, saved)
    assert notes == {}


@pytest.mark.parametrize(
    ("leaf", "what"),
    [
        (jnp.zeros((0, 2)), "an empty array"),
        ("text", "'text'"),
        (np.array(["a"]), r"array\(\['a'\]"),
    ],
)
def test_what_orbax_cannot_hold_is_refused_before_anything_is_written(
    tmp_path, leaf, what
):
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match=f"`a/0` is {what}"):
            checkpoints.save(1, {"a": [leaf]})
        assert list(tmp_path.iterdir()) == []


def test_an_array_of_one_process_is_refused_where_there_are_two(tmp_path, monkeypatch):
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        with pytest.raises(ValueError, match=r"`key` is an array of this process alo"):
            checkpoints.save(1, {"key": jax.random.key(0)})
        monkeypatch.undo()


def test_an_older_step_is_refused(tmp_path):
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, {"x": jnp.ones(1)})
        with pytest.raises(ValueError, match=r"checkpoint of step 2 already.*step 1"):
            checkpoints.save(1, {"x": jnp.ones(1)})


@pytest.mark.parametrize("step", [None, 7])
def test_a_missing_checkpoint_is_named(tmp_path, step):
    with (
        octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(FileNotFoundError, match=r"holds no checkpoint( of step 7)?\."),
    ):
        checkpoints.restore({"x": jnp.ones(1)}, step)


def test_without_orbax_one_sentence_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax", None)
    monkeypatch.delitem(sys.modules, "orbax.checkpoint", raising=False)
    with pytest.raises(MissingExtra, match=r'pip install "optaxctl\[orbax\]"\.$'):
        octl.checkpoint.Checkpoints(tmp_path)
