"""NNX: variables are written in place, and a scan carries their split state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optaxctl as octl
from tests.frontends.conftest import X, Y, nnx_optimizer


def controlled():
    controller = octl.together(guard=octl.guard(), stop=octl.stop.patience(3))
    inner = octl.inject(optax.adam, learning_rate=0.05)
    return octl.control(inner, controller, observed=("val_loss",))


def model_and_optimizer(tx):
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    return model, nnx.Optimizer(model, tx, wrt=nnx.Param)


def train(model, optimizer, x, y):
    loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(x) - y) ** 2))(model)
    optimizer.update(model, grads, value=loss)
    return loss


def test_observe_and_set_lr_write_in_place_and_return_the_object():
    _, optimizer = model_and_optimizer(controlled())
    variable = optimizer.opt_state.f32
    assert octl.observe(optimizer, val_loss=0.5) is optimizer
    assert octl.set_lr(optimizer, 0.25) is optimizer
    assert optimizer.opt_state.f32 is variable
    assert octl.read(optimizer).signals["val_loss"] == 0.5
    assert octl.read(optimizer).learning_rate == 0.25


@pytest.mark.parametrize("wrap", [lambda m, o: (m, o), lambda m, o: o.opt_state])
def test_the_state_is_found_in_a_tuple_and_by_itself(wrap):
    model, optimizer = model_and_optimizer(controlled())
    octl.observe(wrap(model, optimizer), val_loss=0.5)
    assert octl.read(wrap(model, optimizer)).signals["val_loss"] == 0.5


def test_a_scan_over_split_state_equals_the_loop_and_refuses_the_same_step():
    xs = jnp.stack([X, X, X * jnp.nan, X])
    run = nnx_optimizer(controlled())
    for x in xs:
        run.step(run.state, x, Y)

    model, optimizer = model_and_optimizer(controlled())
    graph, state = nnx.split((model, optimizer))

    @jax.jit
    def epoch(state):
        def body(state, x):
            pair = nnx.merge(graph, state)
            loss = train(*pair, x, Y)
            stop = octl.last_decision(pair[1]).stop
            return nnx.state(pair), (loss, stop)

        return jax.lax.scan(body, state, xs)

    state, (losses, stops) = epoch(state)
    nnx.update((model, optimizer), state)
    assert jnp.isfinite(losses).tolist() == [True, True, False, True]
    assert stops.tolist() == [0] * 4
    assert octl.read(optimizer).refused == octl.read(run.state).refused == 1
    for ours, theirs in zip(
        jax.tree.leaves(nnx.state(model)),
        jax.tree.leaves(run.params(run.state)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_observe_works_inside_nnx_jit():
    model, optimizer = model_and_optimizer(controlled())

    @nnx.jit
    def evaluate(model, optimizer):
        octl.observe(optimizer, val_loss=jnp.mean((model(X) - Y) ** 2))

    evaluate(model, optimizer)
    expected = float(jnp.mean((model(X) - Y) ** 2))
    assert octl.read(optimizer).signals["val_loss"] == pytest.approx(expected)


class Model(nnx.Module):
    """Of everything that a model can hold: shared layers, statistics and keys."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.tied = self.linear


def everything(seed):
    inner = octl.control(optax.sgd(0.1), octl.guard())
    tx = octl.control(
        optax.chain(optax.adam(0.1), inner),
        octl.respond(octl.lasting(2, octl.watch.nonfinite()), rewind=True),
        observed=("val_loss",),
        snapshots=octl.Snapshots(every=4),
    )
    model = Model(nnx.Rngs(seed))
    return {"model": model, "optimizer": nnx.Optimizer(model, tx, wrt=nnx.Param)}


def data(tree):
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    leaves = jax.tree.leaves(nnx.as_pure(nnx.state(tree)))
    return [
        np.asarray(jax.random.key_data(x) if is_key(x) else x).tobytes() for x in leaves
    ]


def test_all_that_objects_hold_comes_back_into_new_ones(tmp_path):
    saved, fresh = everything(0), everything(1)
    octl.observe(saved["optimizer"], val_loss=0.5)
    saved["model"].dropout.rngs()
    tree = octl.nnx.pure(saved)
    assert set(tree["model"]) == {"linear", "norm", "dropout"}  # what is shared, once
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree)
        variable = fresh["optimizer"].opt_state.f32
        octl.nnx.restore(fresh, checkpoints.restore(octl.nnx.pure(fresh))[0])
    assert data(fresh) == data(saved)
    assert fresh["optimizer"].opt_state.f32 is variable
    assert fresh["model"].tied is fresh["model"].linear
    assert octl.read(fresh["optimizer"]) == octl.read(saved["optimizer"])


def test_a_control_state_may_be_the_whole_or_lie_in_an_attribute():
    model, _ = model_and_optimizer(controlled())
    both = nnx.ModelAndOptimizer(model, controlled(), wrt=nnx.Param)
    assert isinstance(octl.nnx.pure(both.opt_state), octl.ControlState)
    tree, before = octl.nnx.pure(both), octl.read(both)
    assert isinstance(tree["opt_state"], octl.ControlState)
    octl.observe(both, val_loss=0.5)
    assert octl.read(both) != before
    octl.nnx.restore(both, tree)
    assert octl.read(both) == before


def test_a_state_that_was_saved_packed_is_guarded_by_its_fingerprint(tmp_path):
    """As `nnx.as_pure` makes it: the names of its control state are lost."""
    packed = lambda pair: nnx.as_pure(nnx.state(pair))
    old, same = (model_and_optimizer(controlled()) for _ in range(2))
    controller = octl.together(guard=octl.guard(), halt=octl.stop.patience(3))
    inner = octl.inject(optax.adam, learning_rate=0.05)
    tx = octl.control(inner, controller, observed=("val_loss",))
    other = model_and_optimizer(tx)
    octl.observe(old, val_loss=0.5)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, packed(old))
        for pair in (same, other):
            nnx.update(pair, checkpoints.restore(packed(pair))[0])
    assert octl.read(same) == octl.read(old)
    with pytest.raises(ValueError, match="packed by other controllers"):
        octl.read(other)
