"""What `octl.linen.TrainState` keeps of Flax's, and what it adds."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict
from flax.linen.fp8_ops import OVERWRITE_WITH_GRADIENT

import optaxctl as octl

PARAMS = {"w": jnp.array([1.0, -2.0])}
GRADS = {"w": jnp.array([0.5, 0.25])}


def create(tx, params=PARAMS, cls: Any = octl.linen.TrainState, **fields) -> Any:
    return cls.create(apply_fn=None, params=params, tx=tx, **fields)


@pytest.mark.parametrize(
    "wrap", [dict, FrozenDict, lambda p: p["w"]], ids=["dict", "FrozenDict", "array"]
)
def test_a_stock_optimizer_steps_as_in_flax(wrap):
    params = wrap(PARAMS)
    tx = optax.adam(0.1)
    ours = create(tx, params)
    updates, _ = tx.update(wrap(GRADS), ours.opt_state, params)
    ours = ours.apply_gradients(grads=wrap(GRADS), value=0.3, signals={"entropy": 1.0})
    assert ours.step == 1
    jax.tree.map(
        np.testing.assert_array_equal, ours.params, optax.apply_updates(params, updates)
    )


def test_the_loss_and_further_signals_reach_the_controllers():
    watched = octl.together(loss=octl.guard("loss"), entropy=octl.guard("entropy"))
    state = create(octl.control(optax.sgd(0.1), watched))
    state = state.apply_gradients(grads=GRADS, value=0.3, signals={"entropy": 2.0})
    assert octl.read(state).signals == {
        "entropy": 2.0,
        "grad_norm": pytest.approx(0.3125**0.5),
        "loss": pytest.approx(0.3),
    }


def test_a_missing_loss_is_named():
    state = create(octl.control(optax.sgd(0.1), octl.guard()))
    with pytest.raises(TypeError, match=r"signal `loss`.*value=loss"):
        state.apply_gradients(grads=GRADS)


class WithStats(octl.linen.TrainState):
    batch_stats: Any = None


def test_further_fields_are_replaced_and_a_misspelt_one_is_an_error():
    state = create(optax.sgd(0.1), cls=WithStats, batch_stats=1)
    assert state.apply_gradients(grads=GRADS, batch_stats=2).batch_stats == 2
    with pytest.raises(TypeError, match=r"no field of `WithStats`.*`value`"):
        state.apply_gradients(grads=GRADS, valeu=0.3)
    with pytest.raises(TypeError, match="`batch_stats`"):
        state.apply_gradients(grads=GRADS, batch_stat=2)


def test_the_type_of_the_state_never_changes():
    state = create(octl.control(optax.adam(0.1), octl.guard("grad_norm")))
    new = state.apply_gradients(grads=GRADS)
    assert jax.typeof(state.step) == jax.typeof(jnp.zeros((), jnp.int32))
    assert jax.tree.map(jax.typeof, new) == jax.tree.map(jax.typeof, state)


@pytest.mark.parametrize(("value", "scale"), [(0.3, 8.0), (float("nan"), 1.0)])
def test_values_that_overwrite_follow_the_step_and_are_refused_with_it(value, scale):
    key = OVERWRITE_WITH_GRADIENT
    params = {"params": PARAMS, key: {"scale": jnp.ones(())}}
    grads = {"params": GRADS, key: {"scale": jnp.full((), 8.0)}}
    controlled = octl.control(optax.sgd(0.1), octl.guard())
    for tx, expected in ((controlled, scale), (optax.sgd(0.1), 8.0)):
        state = create(tx, params).apply_gradients(grads=grads, value=value)
        assert state.params[key]["scale"] == expected
        moved = bool(jnp.any(state.params["params"]["w"] != PARAMS["w"]))
        assert moved == (expected == 8.0)


def test_without_flax_one_sentence_names_the_extra():
    program = (
        "import sys; sys.modules['flax'] = None\nimport optaxctl as octl\noctl.linen"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: `optaxctl.linen` needs Flax: "
        'pip install "optaxctl[flax]".'
    )
