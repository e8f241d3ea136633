"""`inject`: exact refusal, the optimizer's own numbers, and who owns what."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import optaxctl as octl
from optaxctl.views._inject import _EXACT
from tests.views._steps import PARAMS, bits, broken, gradients, one, stepper

RATE = 0.01
STEPS = 50
ULP = 2**-24  # of the parameters, which are of the order of 1

# 1 - 0.999 in float32 is off by half an ulp of 1, in units of 0.001; an update by Adam
# is of the order of the rate.
ROUNDING = ULP / 2 / 0.001

MASK = jax.tree.map(lambda leaf: True, PARAMS)

# Every factory that is said to freeze exactly, and every option that changes its state.
FACTORIES = [functools.partial(factory) for factory in _EXACT]
OPTIONS = [
    functools.partial(optax.adam, nesterov=True),
    functools.partial(optax.adam, mu_dtype=jnp.bfloat16),
    functools.partial(optax.adam, eps_root=1e-8),
    functools.partial(optax.adamw, nesterov=True, weight_decay=0.1),
    functools.partial(optax.adamw, mu_dtype=jnp.bfloat16, b1=0.8, b2=0.99),
    functools.partial(optax.adabelief, nesterov=True, eps_root=1e-3),
    functools.partial(optax.adamax, eps=1e-2),
    functools.partial(optax.adamaxw, eps=1e-2, weight_decay=0.1),
    functools.partial(optax.lion, weight_decay=0.1, mu_dtype=jnp.bfloat16),
    functools.partial(optax.lamb, weight_decay=0.1),
    functools.partial(optax.rmsprop, initial_scale=1.0),
    functools.partial(optax.rmsprop, centered=True),
    functools.partial(optax.rmsprop, bias_correction=True),
    functools.partial(optax.sgd, momentum=0.9),
    functools.partial(optax.sgd, momentum=0.9, nesterov=True),
    functools.partial(optax.sgd, momentum=0.9, accumulator_dtype=jnp.bfloat16),
    functools.partial(optax.adagrad, initial_accumulator_value=0.0),
    functools.partial(optax.contrib.muon, nesterov=False, weight_decay=0.1),
]
# What no coefficient can freeze; `inject` gates it by a branch.
GATED = [
    functools.partial(optax.amsgrad),
    functools.partial(optax.adafactor),
    functools.partial(optax.adan),
    functools.partial(optax.radam),
    functools.partial(optax.rmsprop, momentum=0.9),
    functools.partial(optax.novograd),
    lambda learning_rate: optax.chain(
        optax.clip(1.0), optax.trace(0.9), optax.scale_by_learning_rate(learning_rate)
    ),
]


def named(factory: Any) -> str:
    if not isinstance(factory, functools.partial):
        return "chain"
    inner = factory.func
    arguments = factory.keywords
    if isinstance(inner, functools.partial):
        inner, arguments = inner.func, {**inner.keywords, **arguments}
    return "-".join([inner.__name__, *(f"{k}={v}" for k, v in arguments.items())])


every = pytest.mark.parametrize("factory", FACTORIES + OPTIONS + GATED, ids=named)
exact = pytest.mark.parametrize("factory", FACTORIES + OPTIONS, ids=named)


def with_negative_zeros(inner: Any) -> Any:
    """Plants zeros of both signs in the first moments, as underflow leaves them."""

    def plant(path: Any, leaf: Any) -> Any:
        signed = any(getattr(key, "name", "") in ("mu", "trace") for key in path)
        if leaf.ndim != 2 or not signed:
            return leaf
        return leaf.at[0, 0].set(-0.0).at[0, 1].set(0.0)

    return jax.tree_util.tree_map_with_path(plant, inner)


@functools.cache
def controlled(factory: Any) -> tuple[Any, Any]:
    tx: Any = octl.control(octl.inject(factory, learning_rate=RATE), octl.guard())
    return tx, stepper(tx)


@every
def test_a_refused_step_leaves_every_bit_as_it_is(factory: Any) -> None:
    tx, step = controlled(factory)
    params, state = PARAMS, tx.init(PARAMS)
    for index in range(3):
        for bad in (np.nan, np.inf, -np.inf):
            after, refused = step(broken(bad), state, params, value=1.0)
            assert bits(after) == bits(params), (index, bad)
            assert bits(refused.inner) == bits(state.inner), (index, bad)
            assert octl.read(refused).skipped
        params, state = step(gradients(index), state, params, value=1.0)
        state = state._replace(inner=with_negative_zeros(state.inner))


@exact
def test_exact_factories_are_frozen_and_not_gated(factory: Any) -> None:
    tx: Any = octl.control(octl.inject(factory, learning_rate=RATE), octl.guard())
    jaxpr = jax.make_jaxpr(tx.update)(PARAMS, tx.init(PARAMS), PARAMS, value=1.0)
    branches = [e for e in jaxpr.eqns if e.primitive.name in ("cond", "platform_index")]
    assert branches, "`ok` no longer goes through a branch: is `_settled` still needed?"
    assert all(out.aval.shape == () for e in branches for out in e.outvars)


@pytest.mark.parametrize("factory", GATED, ids=named)
def test_other_factories_are_gated(factory: Any) -> None:
    assert octl.inject(factory, learning_rate=RATE).frozen is None


@every
def test_accepted_steps_are_those_of_optax(factory: Any) -> None:
    plain: Any = factory(learning_rate=RATE)
    low = jnp.bfloat16 in getattr(factory, "keywords", {}).values()
    # Moments in bfloat16 are computed as Optax computes them, with weak coefficients,
    # so they differ by single roundings of 2^-8.
    atol = STEPS * RATE * 2**-8 if low else 8 * ULP
    if octl.inject(factory, learning_rate=RATE).frozen is not None and not low:
        # Optax's own injection has the same coefficients: float32, and not Python
        # floats, whose 1 - b rounds elsewhere.
        signature = inspect.signature(factory).parameters
        static = {"mu_dtype", "accumulator_dtype"} & signature.keys()
        injected = optax.inject_hyperparams(factory, static_args=static)
        plain = injected(learning_rate=RATE)
    tx, ours = controlled(factory)
    theirs = stepper(plain)
    params, state = PARAMS, tx.init(PARAMS)
    other, reference = PARAMS, plain.init(PARAMS)
    for index in range(STEPS):
        params, state = ours(gradients(index), state, params, value=1.0)
        other, reference = theirs(gradients(index), reference, other)
    assert octl.read(state).accepted == STEPS
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), params, other
    )


def test_the_coefficients_differ_from_plain_optax_by_their_rounding() -> None:
    plain: Any = optax.adamw(RATE)
    tx, ours = controlled(functools.partial(optax.adamw))
    theirs = stepper(plain)
    params, state = PARAMS, tx.init(PARAMS)
    other, reference = PARAMS, plain.init(PARAMS)
    for index in range(STEPS):
        params, state = ours(gradients(index), state, params, value=1.0)
        other, reference = theirs(gradients(index), reference, other)
    atol = STEPS * ROUNDING * RATE
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), params, other
    )


@pytest.mark.parametrize(
    ("arguments", "owned"),
    [
        ({"learning_rate": 0.1}, {"learning_rate"}),
        ({"learning_rate": 1}, {"learning_rate"}),  # an int, and a rate
        ({"learning_rate": np.float64(0.1)}, {"learning_rate"}),
        ({"learning_rate": jnp.float32(0.1)}, {"learning_rate"}),
        ({"learning_rate": lambda step: 0.1}, {"learning_rate"}),
        ({"learning_rate": 0.1, "weight_decay": 0}, {"learning_rate", "weight_decay"}),
        ({"learning_rate": 0.1, "b1": lambda step: 0.9}, {"learning_rate", "b1"}),
        ({"learning_rate": 0.1, "nesterov": True}, {"learning_rate"}),
        ({"learning_rate": 0.1, "mask": lambda params: MASK}, {"learning_rate"}),
        ({"learning_rate": 0.1, "mu_dtype": jnp.bfloat16}, {"learning_rate"}),
        ({"learning_rate": 0.1, "mu_dtype": "bfloat16"}, {"learning_rate"}),
    ],
)
def test_numbers_and_schedules_are_hyperparameters_and_nothing_else(
    arguments: dict[str, Any], owned: set[str]
) -> None:
    tx: Any = octl.control(octl.inject(optax.adamw, **arguments), one())
    assert octl.read(tx.init(PARAMS)).hyperparams.keys() == owned


def test_what_a_partial_fixes_is_not_a_hyperparameter() -> None:
    factory = functools.partial(optax.adamw, b1=0.5)
    tx: Any = octl.control(octl.inject(factory, learning_rate=0.1), one())
    assert octl.read(tx.init(PARAMS)).hyperparams.keys() == {"learning_rate"}
    plain, step = stepper(optax.adamw(0.1, b1=0.5)), stepper(tx)
    ours, _ = step(gradients(0), tx.init(PARAMS), PARAMS)
    theirs, _ = plain(gradients(0), optax.adamw(0.1).init(PARAMS), PARAMS)
    np.testing.assert_allclose(ours["w"], theirs["w"], rtol=0, atol=ROUNDING * 0.1)


def test_a_schedule_counts_accepted_steps() -> None:
    rate = lambda step: 0.1 * (step + 1)
    tx: Any = octl.control(octl.inject(optax.sgd, learning_rate=rate), octl.guard())
    step, params, state = stepper(tx), PARAMS, tx.init(PARAMS)
    rates = []
    for grads in (gradients(0), broken(), broken(), gradients(1), gradients(2)):
        params, state = step(grads, state, params, value=1.0)
        rates.append(octl.read(state).learning_rate)
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.2, 0.2, 0.3], rtol=1e-6)


def test_lr_scale_moves_the_rate_and_knobs_move_what_they_name() -> None:
    knobs = {"weight_decay": 0.5, "dropout": 0.1, "learning_rate": 2.0}
    inner = octl.inject(optax.adamw, learning_rate=0.1, weight_decay=0.4)
    tx: Any = octl.control(inner, one(lr_scale=0.5, knobs=knobs))
    params, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS)
    seen = octl.read(state)
    assert seen.hyperparams == pytest.approx(
        {"learning_rate": 0.1, "weight_decay": 0.2}
    )
    assert seen.knobs == pytest.approx(knobs)  # one of which is the user's own
    plain = stepper(optax.adamw(0.1, weight_decay=0.2))
    theirs, _ = plain(gradients(0), optax.adamw(0.1).init(PARAMS), PARAMS)
    np.testing.assert_allclose(params["w"], theirs["w"], rtol=0, atol=ROUNDING * 0.1)


def test_set_lr_holds_and_gives_back_without_a_second_trace() -> None:
    traces = 0
    rate = optax.linear_schedule(0.1, 0.2, 10)
    tx: Any = octl.control(
        octl.inject(optax.sgd, learning_rate=rate), one(lr_scale=0.5)
    )

    @jax.jit
    def step(state: Any, params: Any) -> tuple[Any, Any]:
        nonlocal traces
        traces += 1
        updates, state = tx.update(gradients(0), state, params)
        return updates, state

    rates, state = [], tx.init(PARAMS)
    for given in ("as it is", 0.7, "as it is", None, 3, {"factor": 0.1}, None):
        if isinstance(given, dict):
            state = octl.set_lr_scale(state, **given)
        elif given != "as it is":
            state = octl.set_lr(state, given)
        updates, state = step(state, PARAMS)
        seen = octl.read(state)
        rates.append(seen.learning_rate)
        np.testing.assert_allclose(
            updates["w"], -rates[-1] * gradients(0)["w"], rtol=1e-6
        )
        named = octl.row(state).named()
        assert (named["learning_rate"], named["lr_scale"]) == (rates[-1], 0.5)
        assert seen.lr_scale == 0.5
    expected = [0.05, 0.35, 0.35, 0.065, 1.5, 0.15, 0.008]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert traces == 1


def test_the_rate_before_the_first_step_is_the_rule() -> None:
    tx: Any = octl.control(
        octl.inject(optax.sgd, learning_rate=lambda step: 0.3), one()
    )
    assert octl.read(tx.init(PARAMS)).learning_rate == pytest.approx(0.3)


@pytest.mark.parametrize("momentum", [0, 1, 0.0, 0.9])
def test_a_momentum_given_as_an_int_freezes_too(momentum: float) -> None:
    inner = octl.inject(optax.sgd, learning_rate=0.1, momentum=momentum)
    tx: Any = octl.control(inner, octl.guard())
    step = stepper(tx)
    params, state = step(gradients(0), tx.init(PARAMS), PARAMS, value=1.0)
    _, refused = step(broken(), state, params, value=1.0)
    assert bits(refused.inner) == bits(state.inner)
