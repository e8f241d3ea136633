"""The same small regression in every front end, behind one interface."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optaxctl as octl

_rng = np.random.default_rng(0)
X = jnp.asarray(_rng.normal(size=(32, 3)), jnp.float32)
Y = X @ jnp.array([[1.0], [-2.0], [0.5]])


class Run(NamedTuple):
    """A training run as the tests see it."""

    state: Any  # what `observe`, `read` and `set_lr` are given
    step: Callable[[Any, Any, Any], Any]  # state, x, y -> state; compiled
    params: Callable[[Any], Any]
    traces: list[None]  # one entry for each time that the step was traced
    pure: Callable[[Any], Any] = lambda state: state  # what is saved of it
    restore: Callable[[Any, Any], Any] = lambda state, tree: tree


def _mse(out: Any, y: Any) -> Any:
    return jnp.mean((out - y) ** 2)


def raw(tx: Any) -> Run:
    traces = []

    @jax.jit
    def step(state: Any, x: Any, y: Any) -> Any:
        traces.append(None)
        params, opt_state = state
        loss, grads = jax.value_and_grad(lambda w: _mse(x @ w, y))(params)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state

    w = jnp.zeros((3, 1))
    return Run((w, tx.init(w)), step, lambda state: state[0], traces)


def linen(tx: Any) -> Run:
    traces, model = [], nn.Dense(1)

    @jax.jit
    def step(state: Any, x: Any, y: Any) -> Any:
        traces.append(None)

        def loss_of(params: Any) -> Any:
            return _mse(state.apply_fn({"params": params}, x), y)

        loss, grads = jax.value_and_grad(loss_of)(state.params)
        return state.apply_gradients(grads=grads, value=loss)

    state = octl.linen.TrainState.create(
        apply_fn=model.apply, params=model.init(jax.random.key(0), X)["params"], tx=tx
    )
    return Run(state, step, lambda state: state.params, traces)


def nnx_optimizer(tx: Any) -> Run:
    traces, model = [], nnx.Linear(3, 1, rngs=nnx.Rngs(0))

    @nnx.jit
    def train(model: Any, optimizer: Any, x: Any, y: Any) -> None:
        traces.append(None)
        loss, grads = nnx.value_and_grad(lambda m: _mse(m(x), y))(model)
        optimizer.update(model, grads, value=loss)

    def step(optimizer: Any, x: Any, y: Any) -> Any:
        train(model, optimizer, x, y)
        return optimizer

    return Run(
        nnx.Optimizer(model, tx, wrt=nnx.Param),
        step,
        lambda _: nnx.state(model),
        traces,
        lambda optimizer: octl.nnx.pure((model, optimizer)),
        lambda optimizer, tree: octl.nnx.restore((model, optimizer), tree)[1],
    )


def equinox(tx: Any) -> Run:
    traces, model = [], eqx.nn.Linear(3, 1, key=jax.random.key(0))

    # The optimizer is an argument too, so that it is taken apart and put together.
    @eqx.filter_jit
    def step_of(tx: Any, state: Any, x: Any, y: Any) -> Any:
        traces.append(None)
        model, opt_state = state
        loss, grads = eqx.filter_value_and_grad(lambda m: _mse(jax.vmap(m)(x), y))(
            model
        )
        arrays, rest = eqx.partition(model, eqx.is_inexact_array)
        arrays, opt_state = octl.apply_gradients(
            tx, grads, opt_state, arrays, value=loss
        )
        return eqx.combine(arrays, rest), opt_state

    def step(state: Any, x: Any, y: Any) -> Any:
        return step_of(tx, state, x, y)

    opt_state = tx.init(eqx.filter(model, eqx.is_inexact_array))
    return Run((model, opt_state), step, lambda state: state[0], traces)


def haiku(tx: Any) -> Run:
    traces = []
    model = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(1)(x)))

    @jax.jit
    def step(state: Any, x: Any, y: Any) -> Any:
        traces.append(None)
        params, opt_state = state
        loss, grads = jax.value_and_grad(lambda p: _mse(model.apply(p, x), y))(params)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state

    params = model.init(jax.random.key(0), X)
    return Run((params, tx.init(params)), step, lambda state: state[0], traces)


@pytest.fixture(params=[raw, linen, nnx_optimizer, equinox, haiku])
def start(request: pytest.FixtureRequest) -> Callable[[Any], Run]:
    """Starts a run of one front end, given the optimizer."""
    return request.param
