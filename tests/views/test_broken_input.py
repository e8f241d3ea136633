"""What a user hands over wrongly must neither be ignored nor reach the parameters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, bits, gradients, one, stepper


def test_a_schedule_that_breaks_keeps_its_last_rate() -> None:
    def rate(step: Any) -> Any:
        return jnp.where(step == 2, jnp.nan, 0.5 / (1 + step))

    inner = octl.inject(optax.sgd, learning_rate=rate)
    tx: Any = octl.control(inner, octl.guard())
    step, params, state, rates = stepper(tx), PARAMS, tx.init(PARAMS), []
    for index in range(4):
        params, state = step(gradients(index), state, params, value=1.0)
        rates.append(octl.read(state).learning_rate)
    assert rates == [0.5, 0.25, 0.25, 0.125]
    assert octl.read(state).alarms_so_far == ("invalid_decision",)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_a_knob_that_is_nan_is_ignored_with_an_alarm() -> None:
    inner = octl.inject(optax.adamw, learning_rate=0.1, weight_decay=0.1)
    knob = one(knobs={"weight_decay": jnp.nan})
    params = {}
    for name, controller in {"nan": knob, "none": octl.guard()}.items():
        tx: Any = octl.control(inner, controller)
        params[name], state = stepper(tx)(
            gradients(0), tx.init(PARAMS), PARAMS, value=1.0
        )
        assert ("invalid_decision" in octl.read(state).alarms) == (name == "nan")
    assert bits(params["nan"]) == bits(params["none"])


def test_a_state_of_other_controllers_is_told_apart_after_a_step_too() -> None:
    def tx(**controllers: octl.Controller) -> Any:
        return octl.control(optax.sgd(0.1), octl.together(**controllers))

    patience = octl.stop.patience(3, monitor="loss")
    ours, theirs = tx(x=patience), tx(y=patience)
    foreign = theirs.init(PARAMS)._replace(layout=ours.init(PARAMS).layout)
    _, foreign = stepper(ours)(gradients(0), foreign, PARAMS, value=1.0)
    with pytest.raises(ValueError, match="packed by other controllers"):
        octl.read(foreign)


def test_updates_of_schedule_free_optimizers_are_not_scaled() -> None:
    inner = optax.contrib.schedule_free_sgd(0.1)
    tx = octl.control(inner, octl.lr.plateau(3, monitor="loss"))
    with pytest.raises(ValueError, match="Let control own the rate"):
        tx.init(PARAMS)
    owned = octl.inject(optax.contrib.schedule_free_sgd, learning_rate=0.1)
    octl.control(owned, octl.lr.plateau(3, monitor="loss")).init(PARAMS)
    octl.control(inner, octl.guard()).init(PARAMS)


def test_a_scheduled_rate_beside_a_count_of_steps_is_no_second_schedule() -> None:
    late = octl.when(
        lambda s: s["accepted"] > 3, octl.clip.zscore(), reads=("accepted",)
    )
    inner = octl.inject(optax.sgd, learning_rate=optax.linear_schedule(1.0, 0.0, 9))
    octl.control(inner, late).init(PARAMS)


def test_positional_arguments_of_a_partial_are_gated_and_not_lost() -> None:
    inner = octl.inject(functools.partial(optax.sgd, 0.1, 0.9))
    assert inner.frozen is None
    tx: Any = octl.control(inner, octl.guard())
    params, _ = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, value=1.0)
    plain, _ = stepper(optax.sgd(0.1, 0.9))(
        gradients(0), optax.sgd(0.1, 0.9).init(PARAMS), PARAMS
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), params, plain
    )


@pytest.mark.parametrize("flag", [True, jnp.array(True), np.bool_(True)])
def test_a_flag_is_a_signal(flag: Any) -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard(), record=("flag",))
    _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, value=1.0, flag=flag)
    assert octl.read(state).signals["flag"] == 1.0


@pytest.mark.parametrize("name", ["grad_norm", "learning_rate"])
def test_a_measured_signal_is_not_asked_of_the_user(name: str) -> None:
    c = octl.lr.plateau(monitor=name)
    with pytest.raises(TypeError) as caught:
        c.update({"loss": 1.0}, c.init())
    assert "update(" not in str(caught.value)
    assert "`control`" in str(caught.value)


def test_numbers_of_64_bits_make_state_of_32() -> None:
    three: Any = np.int64(3)
    with jax.enable_x64(True):
        controller = octl.together(
            rate=octl.lr.plateau(
                three, rtol=np.float64(1e-4), factor=np.float64(0.5), monitor="loss"
            ),
            stop=octl.stop.patience(three, atol=np.float64(0.1), monitor="loss"),
            clip=octl.clip.zscore(np.float64(2.5), eps=np.float64(1e-6)),
            guard=octl.guard(),
        )
        tx: Any = octl.control(optax.sgd(0.1), controller)
        _, state = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS, value=1.0)
    assert (str(state.f32.dtype), str(state.i32.dtype)) == ("float32", "int32")


def test_a_controller_of_another_precision_is_named() -> None:
    c = one(skip=False)._replace(init=lambda: {"half": jnp.zeros((), jnp.bfloat16)})
    with pytest.raises(TypeError, match="`controller/half` is bfloat16"):
        octl.control(optax.sgd(0.1), c)


def test_a_series_may_have_any_name() -> None:
    c = octl.stop.patience(1, monitor="index")
    stops = octl.replay(c, {"index": [1.0, 2.0]}).decisions.stop
    assert stops.tolist() == [0, octl.StopReason.PATIENCE]


def test_a_predicate_names_what_it_reads() -> None:
    c = octl.when(lambda s: s["loss"] < 1, octl.clip.zscore())
    with pytest.raises(TypeError, match='reads=\\("loss",\\)'):
        octl.control(optax.sgd(0.1), c)


def test_an_alarm_about_control_is_not_answered() -> None:
    c = octl.respond(octl.watch.spike(), skip=True)
    decision, _ = c.update({"loss": -1.0}, c.init())
    assert int(decision.alarm) == octl.Alarm.OUT_OF_DOMAIN
    assert not decision.skip
