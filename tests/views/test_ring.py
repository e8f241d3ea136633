"""The ring has the row of every step, wherever the state goes, and costs no copy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import optaxctl as octl
from optaxctl.views._state import write
from tests.views._steps import scripted

SIZE = 4
BACK = 6  # the step that goes back; the next one lands
STEPS = 10
PARAMS = jnp.arange(3.0)


def guarded(**options: Any) -> Any:
    return octl.control(optax.sgd(0.1), octl.guard(), **options)


def batches() -> Any:
    losses = np.linspace(3, 1, STEPS, dtype=np.float32)
    losses[4] = np.nan
    return {"value": losses, "back": np.arange(STEPS) == BACK}


def test_it_has_what_row_says_of_every_step_though_the_run_goes_back() -> None:
    rules = octl.together(rules=scripted(rewind="back"), guard=octl.guard())
    once = octl.Snapshots(every=2)
    tx = octl.control(guarded(), rules, rows=SIZE, snapshots=once)

    def step(carry: Any, x: Any) -> Any:
        params, state = carry
        updates, state = tx.update(params * x["value"], state, params, **x)
        return (optax.apply_updates(params, updates), state), octl.row(state)

    def at(i: int) -> Any:
        return jax.tree.map(lambda x: x[i], batches())

    step = jax.jit(step, donate_argnums=0)
    carry: Any = (jnp.array(PARAMS), tx.init(PARAMS))
    checkpoint, wanted = carry, []
    for i in range(STEPS):
        if i == STEPS - 2:
            checkpoint = jax.tree.map(jnp.array, carry)
        carry, row = step(carry, at(i))
        wanted.append(np.asarray(row.words))
        found = octl.rows(carry[1])
        assert (found.columns, found.columns.calls) == (row.columns, row.columns.calls)
        last = wanted[-SIZE:]
        empty = [np.zeros_like(wanted[0])] * (SIZE - len(last))
        np.testing.assert_array_equal(found.words, [*empty, *last])
    values = octl.rows(carry).named()
    assert values["rewind"].tolist() == [1, 0, 0, 0]
    assert {"loss", "group/1/grad_norm"} < values.keys()
    assert len({words.tobytes() for words in wanted}) == STEPS

    # As where all but the record came back from a checkpoint: steps that were taken
    # back since then are gone.
    state = checkpoint[1]._replace(rows=carry[1].rows)
    (_, state), row = step((checkpoint[0], state), at(0))
    empty = np.zeros_like(wanted[0])
    known = [empty, *wanted[BACK : STEPS - 2], row.words]
    np.testing.assert_array_equal(octl.rows(state).words, known)


def test_lanes_of_a_scan_keep_their_own() -> None:
    tx = guarded(rows=SIZE)

    def step(carry: Any, loss: Any) -> Any:
        params, state = carry
        carry = octl.apply_gradients(tx, params * loss, state, params, value=loss)
        return carry, octl.row(carry[1])

    lanes = jnp.stack([PARAMS, PARAMS + 1])
    ahead = lambda layout: {"step": jnp.array([0, 2])}
    carry = (lanes, write(jax.vmap(tx.init)(lanes), ahead))
    whole = lambda carry: jax.lax.scan(step, carry, batches()["value"][:5])
    (_, state), rows = jax.jit(jax.vmap(whole))(carry)
    found = jax.jit(octl.rows)(state)
    np.testing.assert_array_equal(found.words, rows.words[:, -SIZE:])
    assert found.named()["step"].tolist() == [[2, 3, 4, 5], [4, 5, 6, 7]]


def test_it_is_written_in_place_and_nothing_without_it() -> None:
    def compiled(size: int | None) -> Any:
        tx = guarded(rows=size)
        carry = (PARAMS, tx.init(PARAMS))
        step = lambda c: octl.apply_gradients(tx, c[0], c[1], c[0], value=1.0)
        jitted = jax.jit(step, donate_argnums=0)
        return jitted.lower(carry).compile(), jax.tree.leaves(carry)

    (bare, leaves), (few, _), (many, more) = map(compiled, (None, 8, 32768))
    ring = more[-1].nbytes
    assert (len(more), ring > 1e6) == (len(leaves) + 1, True)
    moved, of_few, of_many = (
        (c.cost_analysis()["bytes accessed"], c.memory_analysis())
        for c in (bare, few, many)
    )
    assert of_few[0] == of_many[0] <= moved[0] + 1024
    assert of_few[1].temp_size_in_bytes == of_many[1].temp_size_in_bytes
    assert of_many[1].alias_size_in_bytes == moved[1].alias_size_in_bytes + ring


def test_doubles_do_not_change_it() -> None:
    with jax.enable_x64(True):
        tx = guarded(rows=SIZE)
        state = tx.init(PARAMS)
        new = jax.eval_shape(lambda s: tx.update(PARAMS, s, value=1.0)[1], state)
        assert jax.typeof(state.rows) == jax.typeof(new.rows)


def test_in_nnx_it_is_a_variable_and_survives_pure() -> None:
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, guarded(rows=1), wrt=nnx.Param)
    for loss in (2.0, 1.0):
        optimizer.update(model, nnx.state(model, nnx.Param), value=loss)
    pure = octl.nnx.pure((model, optimizer))
    for tree in (optimizer, octl.nnx.restore((model, optimizer), pure), pure):
        assert octl.rows(tree).named()["loss"].tolist() == [1.0]


def test_on_a_mesh_every_device_has_all_of_it() -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    params = jax.device_put(jnp.ones((8, 2)), NamedSharding(mesh, P("data")))
    tx, traces = guarded(rows=2), []

    @jax.jit
    def step(params: Any, state: Any, loss: Any) -> Any:
        traces.append(None)
        return octl.apply_gradients(tx, params, state, params, value=loss)

    state = tx.init(params)
    for loss in (3.0, 2.0, 1.0):
        params, state = step(params, state, loss)
    assert (len(traces), state.rows.sharding.is_fully_replicated) == (1, True)
    assert octl.rows(state).named()["loss"].tolist() == [2.0, 1.0]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(TypeError, match=r"control\(..., rows=256\)"):
        octl.rows(guarded().init(PARAMS))
    ringed = guarded(rows=2)
    beside = (ringed.init(PARAMS), ringed.init(PARAMS))
    with pytest.raises(TypeError, match="found 2 control states beside each other"):
        octl.rows(beside)
    # One around them has it all.
    around = octl.control(ringed, octl.guard(), rows=3)
    assert octl.rows(around.init(PARAMS)).words.shape[0] == 3
    with pytest.raises(ValueError, match=r"control\(rows=...\)` must be >= 1, got 0"):
        guarded(rows=0)
