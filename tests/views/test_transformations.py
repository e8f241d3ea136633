"""A controlled step under every transformation of JAX but sharding."""

import re
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl

START = jnp.array([1.0, -2.0, 0.5])
TARGET = jnp.array([0.25, 0.5, -1.0])

CONTROLLER = octl.together(
    guard=octl.guard(),
    spike=octl.respond(octl.watch.spike(), skip=True),
    clip=octl.clip.zscore(warmup_updates=2),
    rate=octl.lr.plateau(2, factor=0.5, monitor="loss"),
    stop=octl.stop.patience(3),
)


def loss_of(params: Any) -> Any:
    return jnp.sum((params - TARGET) ** 2)


def controlled(form: str, learning_rate: Any = 0.05) -> Any:
    inner = {
        "frozen": octl.inject(optax.sgd, learning_rate=learning_rate, momentum=0.9),
        "gated": optax.sgd(learning_rate, momentum=0.9),
    }[form]
    return octl.control(inner, CONTROLLER, observed=("val_loss",))


def take(tx: Any, params: Any, state: Any, bad: Any = False) -> tuple[Any, Any]:
    loss, grads = jax.value_and_grad(loss_of)(params)
    grads = jnp.where(bad, jnp.nan, grads)
    updates, state = tx.update(grads, state, params, value=loss)
    return optax.apply_updates(params, updates), state


@cache
def looped(form: str) -> tuple[Any, Any]:
    tx = controlled(form)
    step = jax.jit(lambda p, s, b: take(tx, p, s, b))
    params, state = START, tx.init(START)
    for b in BAD_THIRD:
        params, state = step(params, state, b)
    return params, state


def scanned(tx: Any, bad: Any) -> tuple[Any, Any]:
    def body(carry: Any, b: Any) -> Any:
        params, state = carry
        return take(tx, params, state, b), None

    return jax.lax.scan(body, (START, tx.init(START)), bad)[0]


def assert_close(a: Any, b: Any) -> None:
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, a, b)


forms = pytest.mark.parametrize("form", ["frozen", "gated"])
BAD_THIRD = jnp.array([False, False, True, False, False, False])


@forms
def test_jit_traces_once_whatever_is_observed_or_set(form):
    traces = []
    tx = controlled(form)

    @jax.jit
    def step(params, state):
        traces.append(None)
        return take(tx, params, state)

    params, state = START, tx.init(START)
    for n in range(4):
        params, state = step(params, state)
        state = octl.observe(state, val_loss=1.0 if n else jnp.float32(2))
        if form == "frozen":
            state = octl.set_lr(state, 0.01 if n % 2 else None)
    assert len(traces) == 1
    assert jax.tree.map(jax.typeof, state) == jax.tree.map(jax.typeof, tx.init(START))


@forms
def test_a_scan_equals_the_loop(form):
    params, state = scanned(controlled(form), BAD_THIRD)
    assert_close((params, state), looped(form))
    assert octl.read(state).refused == 1


@forms
def test_every_buffer_can_be_donated(form):
    tx = controlled(form)
    step = jax.jit(lambda p, s, bad: take(tx, p, s, bad), donate_argnums=(0, 1))
    params, state = jnp.array(START), tx.init(START)
    for bad in BAD_THIRD:
        old = jax.tree.leaves((params, state))
        params, state = step(params, state, bad)
        assert all(leaf.is_deleted() for leaf in old)
    assert_close((params, state), looped(form))


@forms
def test_vmap_sweeps_the_rate_of_the_optimizer(form):
    rates = jnp.array([0.01, 0.05, 0.1])

    def run(rate: Any) -> tuple[Any, Any]:
        return scanned(controlled(form, rate), BAD_THIRD)

    params, state = jax.jit(jax.vmap(run))(rates)
    each = jax.jit(lambda: [run(rate) for rate in rates])()
    for i, alone in enumerate(each):
        assert_close((params[i], state.f32[i]), (alone[0], alone[1].f32))
    assert octl.read(state).refused.tolist() == [1, 1, 1]
    if form == "frozen":
        assert_close(octl.read(state).learning_rate, rates)


@forms
def test_seeds_are_observed_set_and_refused_one_by_one(form):
    tx = controlled(form)
    params = START[None] + jnp.array([[0.0], [1.0], [2.0]])
    step = jax.jit(jax.vmap(lambda p, s, bad: take(tx, p, s, bad)))
    state = jax.vmap(tx.init)(params)
    structure = jax.tree.map(jax.typeof, state)
    bad = jnp.array([False, True, False])
    rates = jnp.array([0.01, 0.02, 0.04])
    if form == "frozen":
        state = octl.set_lr(state, rates)
    for val_loss in ([3.0, 3.0, 3.0], [2.0, 3.0, 4.0], [1.0, 3.0, 5.0]):
        state = octl.observe(state, val_loss=jnp.array(val_loss))
        before, (params, state) = params, step(params, state, bad)
    reading = octl.read(state)
    assert reading.refused.tolist() == [0, 3, 0]
    assert np.all(params == before, axis=1).tolist() == bad.tolist()
    assert reading.gauges["stop/patience_left"].tolist() == [3, 1, 1]
    assert reading.alarms[1] == ("nonfinite_gradient",)
    assert jax.tree.map(jax.typeof, state) == structure
    if form == "frozen":
        assert_close(reading.learning_rate, rates * reading.lr_scale)


@forms
def test_a_while_loop_runs_until_stop(form):
    stop = octl.stop.patience(4, monitor="loss", atol=1e-3)
    inner = octl.inject(optax.sgd, learning_rate=0.1)
    tx = octl.control(inner if form == "frozen" else optax.sgd(0.1), stop)

    @jax.jit
    def train():
        running = lambda carry: octl.last_decision(carry[1]).stop == 0
        return jax.lax.while_loop(
            running, lambda carry: take(tx, *carry), (START, tx.init(START))
        )

    params, state = train()
    reading = octl.read(state)
    assert reading.stop == ("patience",)
    assert 4 < reading.step < 100
    assert loss_of(params) < 1e-2


@cache
def slope(form: str) -> Any:
    def final(rate: Any, bad: Any) -> Any:
        return loss_of(scanned(controlled(form, rate), bad)[0])

    return jax.jit(jax.grad(final))


@forms
@pytest.mark.parametrize("bad", [jnp.zeros(6, bool), BAD_THIRD], ids=["good", "bad"])
def test_the_result_can_be_differentiated_by_the_rate(form, bad):
    good = bad[~bad]

    @jax.jit
    @jax.grad
    def bare(rate):
        tx = optax.with_extra_args_support(optax.sgd(rate, momentum=0.9))
        return loss_of(scanned(tx, good)[0])

    np.testing.assert_allclose(slope(form)(0.05, bad), bare(0.05), rtol=1e-5)


@forms
def test_the_slope_of_a_clipped_step_is_that_of_optax(form):
    clip = octl.clip.zscore(max_norm=0.5)
    inner = octl.inject(optax.sgd, learning_rate=0.1)
    ours = octl.control(inner if form == "frozen" else optax.sgd(0.1), clip)
    theirs = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1))

    def final(params: Any, tx: Any) -> Any:
        return loss_of(
            take(optax.with_extra_args_support(tx), params, tx.init(params))[0]
        )

    assert_close(
        *jax.jit(lambda p: [jax.grad(final)(p, t) for t in (ours, theirs)])(START)
    )


@forms
def test_a_zero_gradient_has_a_finite_slope(form):
    @jax.jit
    @jax.grad
    def final(params: Any) -> Any:
        tx = controlled(form)
        updates, _ = tx.update(params - START, tx.init(params), params, value=1.0)
        return loss_of(optax.apply_updates(params, updates))

    assert np.isfinite(final(START)).all()


def branches_on_data(text: str) -> int:
    """Counts branches whose predicate is computed in the program.

    What remains of `platform_dependent` has a constant index, which XLA folds.
    """
    predicates = re.findall(r'stablehlo\.(?:case|if)"?\(?\s*(%\w+)', text)
    converted = set(re.findall(r"(%\w+) = stablehlo\.convert .*tensor<i1>\)", text))
    return len(converted.intersection(predicates))


@pytest.mark.parametrize(
    ("form", "platform", "branches"),
    [
        ("gated", "cpu", 1),
        ("gated", "tpu", 1),
        ("gated", "cuda", 0),
        ("gated", "rocm", 0),
        ("frozen", "cpu", 1),
        ("frozen", "cuda", 0),
    ],
)
def test_a_gpu_never_waits_for_a_predicate(form, platform, branches):
    tx = controlled(form)
    traced = jax.jit(lambda p, s: take(tx, p, s)).trace(START, tx.init(START))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert branches_on_data(text) == branches
