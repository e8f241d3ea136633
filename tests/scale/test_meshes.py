"""Under full control, sharded over eight devices, and saved and restored on fewer."""

from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import optaxctl as octl
from tests.host.test_checkpoint import assert_same_bits
from tests.scale._training import batches, begin, mesh, step
from tests.views.test_sharding import PARAMS, SPECS, X, assert_close, mse, put

# A NaN is refused, and a loss that stays broken leads back to a snapshot.
TAPE = [1.0] * 8 + [np.nan] + [1.0] * 4 + [1e3] * 5 + [1.0] * 6


def trained(start: Any, **options: Any) -> tuple[Any, Any]:
    """Returns parameters and state."""
    tx = octl.supervise(
        octl.inject(optax.adamw, learning_rate=0.01),
        octl.together(
            rate=octl.lr.adaptive(1_000, brake=0.9),
            stop=octl.stop.patience(5, monitor="loss"),
        ),
        snapshots=octl.Snapshots(every=3),
    )

    @jax.jit
    def controlled(params: Any, state: Any, x: Any) -> Any:
        loss, grads = jax.value_and_grad(mse)(params, x, **options)
        return octl.apply_gradients(tx, grads, state, params, value=loss)

    params, state = start, tx.init(start)
    for factor in TAPE:
        params, state = controlled(params, state, X * factor)
    return params, state


@pytest.fixture(scope="module")
def alone() -> tuple[Any, Any]:
    params, state = trained(PARAMS)
    return params, octl.read(state)


@pytest.mark.parametrize(
    ("mode", "within"),
    [(AxisType.Auto, False), (AxisType.Explicit, True)],
    ids=["auto", "explicit, in set_mesh"],
)
def test_full_control_of_shards_is_that_of_one_device(
    alone: tuple[Any, Any], mode: Any, within: bool, caplog: Any
) -> None:
    over = jax.make_mesh((8,), ("data",), axis_types=(mode,))
    options = {"out_sharding": P()} if mode == AxisType.Explicit else {}
    start = put(over, PARAMS, SPECS)
    with jax.set_mesh(over) if within else nullcontext(), jax.log_compiles():
        params, state = trained(start, **options)
    done = [r.getMessage() for r in caplog.records if "controlled" in r.getMessage()]
    for what in ("Finished tracing", "Finished XLA compilation"):
        assert sum(what in message for message in done) == 1, done
    ours, theirs = octl.read(state), alone[1]
    for what in ("step", "refused", "rewinds", "clipped", "stop", "alarms_so_far"):
        assert getattr(ours, what) == getattr(theirs, what)
    assert (ours.refused > 1, ours.rewinds > 0, ours.stop != ()) == (True,) * 3
    assert_close(params, alone[0])
    for slot in state.snapshots:
        assert jax.tree.map(lambda x: x.sharding, slot[0]) == jax.tree.map(
            lambda x: x.sharding, params
        )
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(state)} == {8}
    assert state.f32.sharding.is_fully_replicated


def test_no_place_is_given_where_the_parameters_name_none_or_several() -> None:
    tx = octl.control(optax.adam(0.1), octl.guard())
    halves = [NamedSharding(mesh(jax.devices()[i : i + 4]), P()) for i in (0, 4)]
    stages = [jax.device_put(jnp.ones(2), half) for half in halves]
    for params in (jnp.ones(2), stages):
        state: Any = tx.init(params)
        assert not state.f32.committed
    assert jax.eval_shape(tx.init, stages).f32.shape == state.f32.shape


def test_eight_devices_four_one_and_eight_again_bit_for_bit(tmp_path: Any) -> None:
    over = mesh()
    carry = begin(over)
    for x in batches(over, 1):
        carry = step(carry, x)
    assert octl.read(carry).rewinds > 0
    tree = carry
    for n, count in enumerate((8, 4, 1, 8)):
        template = begin(mesh(jax.devices()[:count]))
        with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(n, tree)
            tree, _ = checkpoints.restore(template)
        assert_same_bits(tree, carry)
        assert jax.tree.map(lambda x: x.sharding, tree) == jax.tree.map(
            lambda x: x.sharding, template
        )


def test_the_best_of_shards_is_kept_beside_them(tmp_path: Any) -> None:
    """So that what was restored can be updated with them."""
    keeper = octl.keep_best()
    params, _ = begin(mesh())
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, keeper.init(params))
        kept, _ = checkpoints.restore(keeper.init(params))
    keep: Any = jax.jit(keeper.update)
    for value in (2.0, 1.0):
        improved, kept = keep(value, params, kept)
    assert improved
    assert keep._cache_size() == 1
