"""Eight devices decide as one."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import optaxctl as octl

_rng = np.random.default_rng(0)
X = jnp.asarray(_rng.normal(size=(16, 8)), jnp.float32)
PARAMS = {
    "w": jnp.asarray(_rng.normal(size=(8, 2)), jnp.float32),
    "b": jnp.array([0.5, -1.0]),
}
SPECS = {"w": P("data"), "b": P()}


def controlled(form: str, **options: Any) -> Any:
    inner = {
        "frozen": octl.inject(optax.adamw, learning_rate=0.05),
        "gated": optax.adamw(0.05),
    }[form]
    controller = octl.together(
        guard=octl.guard(),
        clip=octl.clip.zscore(warmup_updates=1),
        stop=octl.stop.patience(3),
    )
    return octl.control(inner, controller, observed=("val_loss",), **options)


def mse(params: Any, x: Any, **options: Any) -> Any:
    out = jnp.einsum("ij,jk->ik", x, params["w"], **options)
    return jnp.mean((out + params["b"][None] - 1) ** 2)


def take(tx: Any, form: str, params: Any, state: Any, loss: Any, grads: Any) -> Any:
    if form == "frozen":
        return octl.apply_gradients(tx, grads, state, params, value=loss)
    updates, state = tx.update(grads, state, params, value=loss)
    return optax.apply_updates(params, updates), state


def run(form: str, steps: Any, start: Any = PARAMS, **options: Any) -> tuple[Any, Any]:
    """Trains, with one batch that is NaN; returns what the run ends with."""
    tx = controlled(form)
    traces = []

    @jax.jit
    def step(params, state, x):
        traces.append(None)
        loss, grads = jax.value_and_grad(mse)(params, x, **options)
        return take(tx, form, params, state, loss, grads)

    params, state = start, tx.init(start)
    for n, x in enumerate(steps):
        state = octl.observe(state, val_loss=float(n))
        params, state = step(params, state, x)
    assert len(traces) == 1
    return params, state


def put(mesh: Any, tree: Any, specs: Any) -> Any:
    return jax.device_put(
        tree, jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    )


def assert_close(a: Any, b: Any) -> None:
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, jax.device_get(a), jax.device_get(b))


STEPS = [X, X, X * np.float32("nan"), X]


@cache
def on_one_device(form: str) -> tuple[Any, Any]:
    return run(form, STEPS)


@pytest.mark.parametrize("form", ["frozen", "gated"])
@pytest.mark.parametrize("mode", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_sharded_parameters_train_as_on_one_device(form, mode):
    alone, alone_state = on_one_device(form)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(mode,))
    explicit = {"out_sharding": P()} if mode == AxisType.Explicit else {}
    with jax.set_mesh(mesh):
        params, state = run(form, STEPS, put(mesh, PARAMS, SPECS), **explicit)
    assert params["w"].sharding.spec[0] == "data"
    assert_close((params, state.inner), (alone, alone_state.inner))
    ours, theirs = octl.read(state), octl.read(alone_state)
    assert (ours.refused, ours.stop) == (theirs.refused, theirs.stop)
    assert (ours.refused, ours.stop) == (1, ("patience",))
    assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-5)


def mesh_of_eight() -> Any:
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def mapped(form: str, *, reduce: bool, **options: Any) -> Any:
    """One data-parallel step: replicated parameters, each device its rows of x."""
    tx = controlled(form, **options)

    def step(params, state, x):
        # The gradient of what is replicated arrives summed over the devices.
        loss, grads = jax.value_and_grad(mse)(params, x)
        grads = jax.tree.map(lambda g: g / 8, grads)
        loss = jax.lax.pmean(loss, "data") if reduce else loss
        return take(tx, form, params, state, loss, grads)

    specs = {"in_specs": (P(), P(), P("data")), "out_specs": P()}
    f = jax.jit(jax.shard_map(step, mesh=mesh_of_eight(), **specs))
    return f(PARAMS, tx.init(PARAMS), X)


@cache
def whole(form: str) -> tuple[Any, Any]:
    tx = controlled(form)
    loss, grads = jax.value_and_grad(mse)(PARAMS, X)
    return take(tx, form, PARAMS, tx.init(PARAMS), loss, grads)


@pytest.mark.parametrize("form", ["frozen", "gated"])
@pytest.mark.parametrize(
    ("reduce", "options"),
    [(True, {}), (False, {"axis_name": "data"}), (True, {"axis_name": "data"})],
    ids=["reduced by hand", "by axis_name", "by both"],
)
def test_a_metric_reduced_inside_shard_map_decides_for_all(form, reduce, options):
    assert_close(mapped(form, reduce=reduce, **options), whole(form))


@pytest.mark.parametrize("form", ["frozen", "gated"])
def test_an_unreduced_metric_inside_shard_map_is_named(form):
    with pytest.raises(
        TypeError, match=r"`loss` differs .* axis data.*axis_name='data"
    ):
        mapped(form, reduce=False)


@pytest.mark.parametrize("options", [{}, {"axis_name": "data"}])
def test_an_array_for_the_optimizer_may_differ_inside_shard_map(options):
    """It is no signal, so it is neither refused nor averaged on its way."""

    def update(updates, state, params=None, **extra):
        weight = jax.lax.psum(jnp.sum(extra["weights"]), "data")
        return jax.tree.map(lambda u: -u * weight, updates), state

    inner = optax.GradientTransformationExtraArgs(lambda params: (), update)
    tx = octl.control(inner, octl.guard(), **options)

    def step(state, weights):
        return tx.update(PARAMS, state, PARAMS, value=1.0, weights=weights)[0]

    specs = {"in_specs": (P(), P("data")), "out_specs": P()}
    f = jax.jit(jax.shard_map(step, mesh=mesh_of_eight(), **specs))
    updates = f(tx.init(PARAMS), jnp.arange(8.0) / 28)
    assert_close(updates, jax.tree.map(jnp.negative, PARAMS))


def shards(form: str, **options: Any) -> Any:
    """One step with the rows of w spread over the devices."""
    tx = controlled(form, **options)
    state = tx.init(PARAMS)
    specs = jax.tree.map(lambda leaf: P("data") if leaf.shape == (8, 2) else P(), state)

    def step(params, state, x):
        def loss_of(params):
            out = jax.lax.psum(x @ params["w"], "data")
            return jnp.mean((out + params["b"][None] - 1) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(params)
        return take(tx, form, params, state, loss, grads)

    f = jax.shard_map(
        step,
        mesh=mesh_of_eight(),
        in_specs=(SPECS, specs, P(None, "data")),
        out_specs=(SPECS, specs),
    )
    return jax.jit(f)(PARAMS, state, X)


@pytest.mark.parametrize("form", ["frozen", "gated"])
def test_the_norm_of_sharded_gradients_is_that_of_the_whole(form):
    assert_close(shards(form, axis_name="data"), whole(form))


@pytest.mark.parametrize("form", ["frozen", "gated"])
def test_a_norm_of_shards_without_an_axis_is_named(form):
    with pytest.raises(TypeError, match=r"`grad_norm` differs .* axis data"):
        shards(form)


@pytest.mark.parametrize("form", ["frozen", "gated"])
def test_a_snapshot_of_shards_is_whole_on_every_device(form):
    """Whether one is broken, the devices must agree on."""
    options = {"axis_name": "data", "snapshots": octl.Snapshots(every=1)}
    params, state = shards(form, **options)
    assert_close(params, whole(form)[0])
    assert_close(state.snapshots[1][0], PARAMS)
    assert octl.read(state).rewinds == 0
