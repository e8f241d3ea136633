"""Control goes wherever an Optax transformation goes, outside and inside."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import optaxctl as octl

PARAMS = {"w": jnp.arange(1.0, 5.0), "b": jnp.array(0.5)}
GRADS = {"w": jnp.array([1.0, -2.0, 3.0, -4.0]), "b": jnp.array(0.25)}
BAD = {"w": jnp.array([1.0, jnp.nan, 3.0, -4.0]), "b": jnp.array(0.25)}
LABELS = {"w": "matrix", "b": "vector"}


def begin(tx: Any, params: Any = PARAMS) -> Any:
    return tx.init(params)


def step(
    tx: Any, params: Any, state: Any, grads: Any = GRADS, value: Any = 0.7, **extra: Any
) -> tuple[Any, Any]:
    updates, state = tx.update(grads, state, params, value=value, **extra)
    return optax.apply_updates(params, updates), state


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def plateau_in_optax():
    return optax.contrib.reduce_on_plateau(patience=1, cooldown=0, accumulation_size=1)


def after_first(step: Any, **extra: Any) -> Any:
    return step > 0


def always(step: Any, **extra: Any) -> Any:
    return step >= 0


INNER: dict[str, Any] = {
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1)),
    "named_chain": optax.named_chain(
        ("decay", optax.add_decayed_weights(0.1)), ("sgd", optax.sgd(0.1, momentum=0.9))
    ),
    "inject_hyperparams": optax.inject_hyperparams(optax.adam)(
        optax.linear_schedule(0.1, 0.01, 10)
    ),
    "partition": optax.partition(
        {"matrix": optax.adam(0.1), "vector": optax.sgd(0.01)}, LABELS
    ),
    "masked": optax.masked(optax.adam(0.1), {"w": True, "b": False}),
    "MultiSteps": optax.MultiSteps(optax.adam(0.1), 1).gradient_transformation(),
    "apply_if_finite": optax.apply_if_finite(optax.adam(0.1), 2),
    "schedule_free": optax.contrib.schedule_free_adamw(0.1, warmup_steps=2),
    "ema": optax.chain(optax.adam(0.1), optax.ema(0.9)),
    "conditionally_transform": optax.chain(
        optax.adam(0.1), optax.conditionally_transform(optax.ema(0.9), after_first)
    ),
    "extra_args": optax.chain(optax.adam(0.1), plateau_in_optax()),
}


@cache
def bare_run(name: str) -> tuple[Any, Any]:
    """Three steps of what is wrapped by itself."""
    bare = optax.with_extra_args_support(INNER[name])
    stepped = jax.jit(lambda params, state: step(bare, params, state))
    params, state = PARAMS, begin(bare)
    for _ in range(3):
        params, state = stepped(params, state)
    return params, state


@pytest.mark.parametrize("form", ["update", "apply"])
@pytest.mark.parametrize("name", INNER)
def test_control_outside_refuses_a_bad_step_without_a_trace_in_what_it_wraps(
    name, form
):
    tx = octl.control(INNER[name], octl.guard())

    @jax.jit
    def controlled(params: Any, state: Any, grads: Any) -> Any:
        if form == "update":
            return step(tx, params, state, grads)
        return octl.apply_gradients(tx, grads, state, params, value=0.7)

    params, state = PARAMS, begin(tx)
    for _ in range(3):
        before = bits((params, state.inner))
        params, state = controlled(params, state, BAD)
        assert bits((params, state.inner)) == before
        params, state = controlled(params, state, GRADS)
    assert bits(params) != bits(PARAMS)
    for ours, bare_leaf in zip(
        jax.tree.leaves((params, state.inner)),
        jax.tree.leaves(bare_run(name)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, bare_leaf, rtol=1e-6)
    assert octl.read(state).refused == 3


CONTROLLED = octl.control(
    octl.inject(optax.adam, learning_rate=0.1),
    octl.together(guard=octl.guard(), stop=octl.stop.patience(1)),
    observed=("val_loss",),
)

OUTER: dict[str, Any] = {
    "chain": optax.chain(optax.clip(10.0), CONTROLLED),
    "named_chain": optax.named_chain(("clip", optax.clip(10.0)), ("adam", CONTROLLED)),
    "masked": optax.masked(CONTROLLED, {"w": True, "b": True}),
    "partition": optax.partition(
        {"matrix": CONTROLLED, "vector": optax.set_to_zero()}, LABELS
    ),
    "conditionally_transform": optax.conditionally_transform(
        CONTROLLED, always, forward_extra_args=True
    ),
    "apply_if_finite": optax.apply_if_finite(CONTROLLED, 5),
    "ema": optax.chain(CONTROLLED, optax.ema(0.9)),
    "schedule_free": optax.contrib.schedule_free(CONTROLLED, 0.1),
}


@pytest.mark.parametrize("name", OUTER)
def test_control_inside_is_found_read_observed_and_set(name):
    tx = OUTER[name]
    state = octl.set_lr(begin(tx), 0.25)
    for val_loss in (1.0, 1.0):
        state = octl.observe(state, val_loss=val_loss)
        _, state = step(tx, PARAMS, state)
    reading = octl.read(state)
    assert (reading.step, reading.stop) == (2, ("patience",))
    assert reading.learning_rate == 0.25
    assert reading.signals["loss"] == pytest.approx(0.7)


def test_each_group_has_its_own_control_under_one_guard():
    def group(factor):
        rate = octl.lr.plateau(1, factor=factor, monitor="loss")
        inner = octl.inject(optax.sgd, learning_rate=1.0)
        return octl.control(inner, octl.together(rate=rate, clip=octl.clip.zscore()))

    groups = optax.partition({"matrix": group(0.5), "vector": group(0.25)}, LABELS)
    tx = octl.control(groups, octl.guard())
    params, state = PARAMS, begin(tx)
    jitted = jax.jit(lambda p, s, g: step(tx, p, s, g))
    for grads in (GRADS, BAD, GRADS):
        params, state = jitted(params, state, grads)
    outer, *inner = octl.read(state).groups
    assert octl.read(state).refused == outer.refused == 1
    assert [g.step for g in inner] == [2, 2]
    assert [g.learning_rate for g in inner] == [0.5, 0.25]
    norms = [float(jnp.linalg.norm(GRADS["w"])), 0.25]
    assert [g.grad_norm for g in inner] == pytest.approx(norms)
    np.testing.assert_allclose(params["b"], 0.5 - 1.25 * 0.25)
    np.testing.assert_allclose(params["w"], PARAMS["w"] - 1.5 * GRADS["w"])


def test_one_bad_micro_gradient_does_not_end_an_accumulation():
    multi = optax.MultiSteps(optax.sgd(1.0), every_k_schedule=2)
    tx = octl.control(multi.gradient_transformation(), octl.guard())
    params, state = PARAMS, begin(tx)
    for grads, value in ((GRADS, 0.7), (BAD, 0.7), (GRADS, jnp.inf)):
        params, state = step(tx, params, state, grads, value)
    assert_equal(params, PARAMS)
    params, state = step(tx, params, state, jax.tree.map(lambda g: 3 * g, GRADS))
    assert_equal(params, jax.tree.map(lambda p, g: p - 2 * g, PARAMS, GRADS))
    assert octl.read(state).refused == 2


def test_extra_arguments_pass_through_control_and_accumulation():
    seen = []

    def update(updates, state, params=None, **extra):
        seen.append(extra)
        return updates, state

    spy = optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )
    multi = optax.MultiSteps(spy, every_k_schedule=1).gradient_transformation()
    tx = octl.control(multi, octl.guard("loss", "entropy"))
    name = "given by name"
    step(tx, PARAMS, begin(tx), value=0.7, entropy=0.1, batch_name=name)
    assert seen[0] == {"value": 0.7, "entropy": 0.1, "batch_name": name}


def test_a_controlled_rate_is_a_visible_hyperparameter_of_optax():
    rate = octl.as_schedule(octl.lr.plateau(1, factor=0.5, monitor="loss"), 1.0)
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    params, state = PARAMS, begin(tx)
    rates = []
    for value in (1.0, 1.0, 0.5, 0.5):
        before = params["b"]
        params, state = step(tx, params, state, value=value)
        rates.append(float(state.hyperparams["learning_rate"]))
        np.testing.assert_allclose(before - params["b"], rates[-1] * GRADS["b"])
    assert rates == [1.0, 0.5, 0.5, 0.25]
    assert octl.read(state).lr_scale == 0.25


def test_what_optax_offers_for_states_works_on_ours():
    tx: Any = octl.control(optax.adam(0.1), octl.guard())
    _, state = step(tx, PARAMS, begin(tx))
    assert optax.tree.get(state, "count") == 1
    kinds: Any = optax.tree_map_params(
        tx, lambda _: "param", state, transform_non_params=lambda _: "other"
    )
    assert (kinds.f32, kinds.i32) == ("other", "other")
    assert optax.tree.get(kinds, "mu") == {"w": "param", "b": "param"}
    reset: Any = optax.tree.set(state, count=jnp.zeros((), jnp.int32))
    assert optax.tree.get(reset, "count") == 0
    assert octl.read(reset).step == 1


FORMS: dict[str, Any] = {
    "frozen": octl.inject(optax.adamw, learning_rate=0.1),
    "gated": optax.chain(optax.adam(0.1), optax.ema(0.9)),
    "gated by inject": octl.inject(optax.adafactor, learning_rate=0.1),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_types_never_drift_and_control_stays_float32(form, dtype):
    tx = octl.control(FORMS[form], octl.guard())
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    grads = jax.tree.map(lambda g: g.astype(dtype), GRADS)
    abstract = jax.eval_shape(tx.init, params)
    state = begin(tx, params)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, abstract)
    new_params, new = step(tx, params, state, grads, jnp.asarray(0.7, dtype))
    types = jax.tree.map(jax.typeof, (params, state))
    assert jax.tree.map(jax.typeof, (new_params, new)) == types
    assert (state.f32.dtype, state.i32.dtype) == (jnp.float32, jnp.int32)
    assert bits(new_params) != bits(params)


TREES: dict[str, Any] = {
    "scalar": (jnp.array(1.0), jnp.array(0.5)),
    "None leaves": ({"w": jnp.ones(2), "b": None}, {"w": jnp.ones(2), "b": None}),
    "empty": ({}, {}),
    "zero gradient": (jnp.ones(3), jnp.zeros(3)),
    "no elements": (jnp.ones((0, 3)), jnp.ones((0, 3))),
}


@pytest.mark.parametrize("form", ["frozen", "gated"])
@pytest.mark.parametrize("tree", TREES)
def test_any_tree_of_parameters_steps_and_is_refused(tree, form):
    params, grads = TREES[tree]
    tx = octl.control(FORMS[form], octl.together(g=octl.guard(), c=octl.clip.zscore(1)))
    jitted = jax.jit(lambda p, s, value: step(tx, p, s, grads, value))
    state = begin(tx, params)
    for _ in range(3):
        params, state = jitted(params, state, 0.7)
    before = bits((params, state.inner))
    params, state = jitted(params, state, jnp.nan)
    assert bits((params, state.inner)) == before
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    norm = float(optax.tree.norm(grads))
    assert octl.read(state).grad_norm == pytest.approx(norm, rel=1e-6)
