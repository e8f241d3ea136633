"""`control` carries out what a controller decides, and nothing else."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, bits, broken, gradients, one, scripted, stepper

INNER = {
    "ready-made": lambda: optax.sgd(0.1),
    "injected": lambda: octl.inject(optax.sgd, learning_rate=0.1),
    "gated": lambda: octl.inject(optax.amsgrad, learning_rate=0.1),
}
inners = pytest.mark.parametrize("inner", INNER)


def norm(tree: Any) -> float:
    return float(optax.tree.norm(tree))


@pytest.mark.parametrize("limit", [0.0, 1.0, 3.0])
def test_a_norm_above_the_limit_is_clipped_to_it(limit: float) -> None:
    tx: Any = octl.control(optax.identity(), one(clip_norm=limit))
    updates, state = tx.update(gradients(0), tx.init(PARAMS))
    assert norm(updates) == pytest.approx(limit, rel=1e-6)
    assert octl.read(state).clipped == 1
    assert octl.read(state).grad_norm == pytest.approx(norm(gradients(0)))


@pytest.mark.parametrize("limit", [100.0, np.inf])
def test_a_norm_below_the_limit_is_left_to_the_last_bit(limit: float) -> None:
    tx: Any = octl.control(optax.identity(), one(clip_norm=limit))
    updates, state = tx.update(gradients(0), tx.init(PARAMS))
    assert bits(updates) == bits(gradients(0))
    assert octl.read(state).clipped == 0


def test_a_zero_gradient_is_not_divided_by_its_norm() -> None:
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    tx: Any = octl.control(optax.identity(), one(clip_norm=0.0))
    updates, _ = tx.update(zero, tx.init(PARAMS))
    assert norm(updates) == 0


@inners
def test_the_optimizer_sees_clipped_gradients_and_its_updates_are_scaled(
    inner: str,
) -> None:
    tx: Any = octl.control(INNER[inner](), one(clip_norm=1.0, lr_scale=0.5))
    make = optax.amsgrad if inner == "gated" else optax.sgd
    plain: Any = optax.chain(optax.clip_by_global_norm(1.0), make(0.05))
    ours, _ = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS)
    theirs, _ = stepper(plain)(gradients(0), plain.init(PARAMS), PARAMS)
    np.testing.assert_allclose(ours["w"], theirs["w"], rtol=0, atol=2**-23)


@inners
def test_a_refused_step_emits_negative_zeros(inner: str) -> None:
    tx: Any = octl.control(INNER[inner](), one(skip=True))
    updates, state = jax.jit(tx.update)(broken(), tx.init(PARAMS), PARAMS)
    for leaf in jax.tree.leaves(updates):
        assert np.all(leaf == 0)
        assert np.all(np.signbit(leaf))
    assert bits(optax.apply_updates(PARAMS, updates)) == bits(PARAMS)
    assert bits(state.inner) == bits(tx.init(PARAMS).inner)


@inners
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_updates_and_state_keep_their_dtypes(inner: str, dtype: Any) -> None:
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    tx: Any = octl.control(INNER[inner](), one(clip_norm=1.0, lr_scale=0.5))
    state = tx.init(params)
    updates, new = tx.update(gradients(0, params), state, params)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    assert jax.tree.map(jnp.result_type, new) == jax.tree.map(jnp.result_type, state)


def test_the_norm_of_half_precision_gradients_is_taken_in_float32() -> None:
    grads = {"w": jnp.full((100_000,), 0.1, jnp.bfloat16)}
    tx: Any = octl.control(optax.identity(), one())
    _, state = tx.update(grads, tx.init(grads))
    expected = np.sqrt(100_000) * float(jnp.bfloat16(0.1))
    assert octl.read(state).grad_norm == pytest.approx(expected, rel=1e-5)


def test_every_step_is_counted_once() -> None:
    rules = scripted(skip="refuse", rewind="back", clip_norm="limit")
    tx: Any = octl.control(optax.sgd(0.1), rules)
    step, state = stepper(tx), tx.init(PARAMS)
    script = [(0, 0, 1.0), (1, 0, 1.0), (1, 1, 99.0), (0, 1, 99.0), (0, 0, 1.0)]
    for refuse, back, limit in script:
        extra = {"refuse": refuse, "back": back, "limit": limit}
        _, state = step(gradients(0), state, PARAMS, **extra)
    seen = octl.read(state)
    assert (seen.step, seen.accepted, seen.refused) == (5, 3, 2)
    assert (seen.rewinds, seen.clipped, seen.skipped) == (2, 2, False)


def test_a_stop_is_latched_and_an_alarm_is_not() -> None:
    tx: Any = octl.control(optax.sgd(0.1), scripted(stop="halt", alarm="bell"))
    step, state = stepper(tx), tx.init(PARAMS)
    script = [(0, 0), (1, 8), (0, 0), (2, 0), (0, 0)]
    stops, alarms = [], []
    for halt, bell in script:
        _, state = step(gradients(0), state, PARAMS, halt=halt, bell=bell)
        stops.append(octl.read(state).stop)
        alarms.append(octl.read(state).alarms)
    patience, both = ("patience",), ("patience", "nonfinite")
    assert stops == [(), patience, patience, both, both]
    assert alarms == [(), ("loss_spike",), (), (), ()]
    assert octl.read(state).alarms_so_far == ("loss_spike",)
    assert int(octl.last_decision(state).stop) == 3


@cache
def decided(inner: str, field: str, value: Any) -> tuple[Any, Any]:
    tx: Any = octl.control(INNER[inner](), one(**{field: value}))
    return stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("lr_scale", x) for x in (np.nan, np.inf, -1.0)),
        *(("clip_norm", x) for x in (np.nan, -1.0)),
    ],
)
@inners
def test_a_decision_without_sense_is_ignored_with_an_alarm(
    inner: str, field: str, value: Any
) -> None:
    ours, state = decided(inner, field, value)
    theirs, _ = decided(inner, field, float(getattr(octl.decide(), field)))
    assert bits(ours) == bits(theirs)
    assert octl.read(state).alarms == ("invalid_decision",)


def test_recorded_scalars_are_kept_and_others_are_not() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard(), record=("entropy",))
    step, state = stepper(tx), tx.init(PARAMS)
    _, state = step(gradients(0), state, PARAMS, value=2.0, entropy=0.5, other=1.0)
    signals = octl.read(state).signals
    assert signals == {"loss": 2, "entropy": 0.5, "grad_norm": signals["grad_norm"]}


@pytest.mark.parametrize("name", ["value", "loss"])
def test_the_loss_has_two_names(name: str) -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard())
    _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, **{name: np.nan})
    assert octl.read(state).alarms == ("nonfinite_loss",)


@pytest.mark.parametrize("rate", [0.1, optax.linear_schedule(0.1, 0.0, 10)])
def test_the_rate_of_a_ready_made_optimizer_is_read_where_it_is_given(
    rate: Any,
) -> None:
    guard = octl.together(guard=octl.guard(), half=one(lr_scale=0.5))
    tx: Any = octl.control(optax.sgd(rate), guard, learning_rate=rate)
    step, state, rates = stepper(tx), tx.init(PARAMS), []
    assert octl.read(state).learning_rate == pytest.approx(0.1)
    for grads in (gradients(0), broken(), gradients(1)):
        _, state = step(grads, state, PARAMS, value=1.0)
        rates.append(octl.read(state).learning_rate)
    expected = [0.05, 0.05, 0.05] if rate == 0.1 else [0.05, 0.045, 0.045]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_the_rate_of_a_ready_made_optimizer_is_hidden_otherwise() -> None:
    tx: Any = octl.control(optax.sgd(0.1), one(lr_scale=0.5))
    _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS)
    assert octl.read(state).learning_rate is None


def test_a_controller_reads_the_rate_before_its_own_scale() -> None:
    seen = scripted(clip_norm="learning_rate", lr_scale="factor")
    tx: Any = octl.control(octl.inject(optax.sgd, learning_rate=0.1), seen)
    _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, factor=0.5)
    assert octl.read(state).clip_norm == pytest.approx(0.1)
    assert octl.read(state).learning_rate == pytest.approx(0.05)


def test_a_spike_at_step_300_leaves_the_moments_of_adam_untouched() -> None:
    spike = octl.respond(octl.watch.spike(), skip=True)
    tx: Any = octl.control(
        optax.adam(1e-3), octl.together(guard=octl.guard(), spike=spike)
    )
    step, params, state = stepper(tx), PARAMS, tx.init(PARAMS)
    noise = np.random.default_rng(0).normal(0, 0.1, 301)
    losses = np.exp(noise) * np.linspace(3, 1, 301)
    for index in range(300):
        params, state = step(gradients(index), state, params, value=losses[index])
    assert octl.read(state).refused == 0
    after, refused = step(gradients(300), state, params, value=1e3)
    assert bits(after) == bits(params)
    assert bits(refused.inner) == bits(state.inner)
    assert octl.read(refused).alarms == ("loss_spike",)
    _, healthy = step(gradients(301), refused, after, value=losses[300])
    assert octl.read(healthy).accepted == 301


@inners
def test_however_many_broken_steps_come_none_is_accepted(inner: str) -> None:
    tx: Any = octl.control(INNER[inner](), octl.guard())

    def body(carry: Any, index: Any) -> tuple[Any, None]:
        params, state = carry
        updates, state = tx.update(broken(), state, params, value=1.0)
        return (optax.apply_updates(params, updates), state), None

    start = (PARAMS, tx.init(PARAMS))
    (params, state), _ = jax.jit(lambda c: jax.lax.scan(body, c, jnp.arange(1000)))(
        start
    )
    assert bits(params) == bits(PARAMS)
    assert bits(state.inner) == bits(start[1].inner)
    assert octl.read(state).refused == 1000


def test_the_guard_sees_a_broken_loss_with_healthy_gradients() -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard())
    params, _ = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, value=np.nan)
    assert bits(params) == bits(PARAMS)


def square(params: Any) -> Any:
    return jnp.sum(params**2)


@pytest.mark.parametrize(
    "inner",
    [
        optax.polyak_sgd(),
        optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
        optax.chain(optax.sgd(9.0), optax.scale_by_backtracking_linesearch(5)),
    ],
    ids=["polyak", "plateau", "line search"],
)
def test_extra_arguments_reach_the_optimizer(inner: Any) -> None:
    tx: Any = octl.control(inner, octl.guard())

    def run(tx: Any) -> tuple[Any, Any]:
        def body(_: Any, carry: Any) -> Any:
            params, state = carry
            value, grad = jax.value_and_grad(square)(params)
            extra = {"value": value, "grad": grad, "value_fn": square}
            updates, state = tx.update(grad, state, params, **extra)
            return optax.apply_updates(params, updates), state

        start = jnp.array([3.0, -2.0])
        return jax.jit(jax.lax.fori_loop, static_argnums=2)(
            0, 4, body, (start, tx.init(start))
        )

    (ours, state), (theirs, _) = run(tx), run(inner)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert octl.read(state).accepted == 4


def test_random_keys_in_the_optimizer_are_kept_by_a_refused_step() -> None:
    tx: Any = octl.control(optax.noisy_sgd(0.1, key=jax.random.key(0)), octl.guard())
    state = tx.init(PARAMS)
    _, refused = stepper(tx)(broken(), state, PARAMS, value=1.0)
    _, accepted = stepper(tx)(gradients(0), state, PARAMS, value=1.0)
    data = lambda s: [jax.random.key_data(s.inner[0].rng_key)]
    assert bits(data(refused)) == bits(data(state)) != bits(data(accepted))
