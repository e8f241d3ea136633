"""A row says what `read` says, in one array that scans stack."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from optaxctl._core.flags import Alarm, StopReason, names

LOSSES = np.array([4.0, 3.0, np.nan, 3.5, 2.0, 90.0, 2.0, 2.0], np.float32)
VAL_LOSS = {1: 1.0, 4: 2.0, 6: 3.0}


def controlled(inner=None):
    controllers = octl.together(
        guard=octl.guard(),
        rate=octl.lr.plateau(2, monitor="loss", factor=0.5),
        spike=octl.watch.spike(3.0),
        decay=octl.Controller(
            init=tuple,
            update=lambda signals, state: (
                octl.decide(clip_norm=90, knobs={"weight_decay": signals["loss"]}),
                state,
            ),
            signals=frozenset({"loss"}),
            gauges=lambda state: {},
        ),
        stop=octl.stop.patience(2),
    )
    return octl.control(
        inner or octl.inject(optax.adamw, learning_rate=optax.linear_schedule(1, 0, 9)),
        controllers,
        observed=("val_loss",),
        record=("accuracy",),
    )


def stepping(tx):
    def step(carry, x):
        w, state = carry
        loss, val_loss = x
        fresh = octl.observe(state, val_loss=val_loss)
        state = jax.tree.map(lambda n, o: jnp.where(val_loss > 0, n, o), fresh, state)
        grads = 30 * (w - jnp.nan_to_num(loss, nan=90))  # refused for its loss
        w, state = octl.apply_gradients(tx, grads, state, w, value=loss, accuracy=0.5)
        return (w, state), octl.row(state)

    return step


def batches():
    val_loss = [VAL_LOSS.get(i, 0.0) for i in range(len(LOSSES))]
    return jnp.asarray(LOSSES), jnp.asarray(val_loss, jnp.float32)


def test_a_row_is_what_read_says():
    tx = controlled()
    step, start = jax.jit(stepping(tx)), jax.jit(lambda w: (w, tx.init(w)))
    carry = start(jnp.ones(3))
    seen, scales = set(), []
    for i, x in enumerate(zip(*batches(), strict=True)):
        carry, row = step(carry, x)
        (words,) = jax.tree.leaves(row)
        assert words.dtype == jnp.int32
        said, reading = jax.device_get(row).named(), octl.read(carry[1])
        wanted = {
            "step": i + 1,
            "accepted": reading.accepted,
            "refused": reading.skipped,
            "rewind": 0,
            "clipped": not reading.skipped and said["grad_norm"] > reading.clip_norm,
            "learning_rate": reading.learning_rate,
            "lr_scale": reading.lr_scale,
            "clip_norm": reading.clip_norm,
            **{f"knob/{n}": v for n, v in reading.knobs.items()},
            **{n: v for n, v in reading.signals.items() if n != "learning_rate"},
            **{f"gauge/{n}": v for n, v in reading.gauges.items()},
        }
        assert names(Alarm, int(said.pop("alarms"))) == reading.alarms
        assert names(StopReason, int(said.pop("stop"))) == reading.stop
        if i < min(VAL_LOSS):
            assert np.isnan(said.pop("val_loss"))
        assert said.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(said[name], np.float32(value), err_msg=name)
        scales.append(reading.lr_scale)
        flags = ("refused", "clipped", "alarms", "stop")
        seen |= {name for name in flags if row.named()[name] != 0}
    assert seen == {"refused", "clipped", "alarms", "stop"}
    assert scales[-1] < 1


def test_scans_stack_rows_and_lanes_stay_in_front():
    tx = controlled()
    step, start = stepping(tx), jax.jit(lambda w: (w, tx.init(w)))(jnp.ones(3))
    carry, one_by_one, jitted = start, [], jax.jit(step)
    for x in zip(*batches(), strict=True):
        carry, row = jitted(carry, x)
        one_by_one.append(row.words)
    _, stacked = jax.jit(lambda xs: jax.lax.scan(step, start, xs))(batches())
    exact = [i for i, kind in enumerate(stacked.columns.kinds) if kind == "i"]
    wanted = np.stack(one_by_one)
    np.testing.assert_array_equal(stacked.words[:, exact], wanted[:, exact])
    np.testing.assert_array_equal(stacked.named()["loss"], LOSSES)
    lanes = jax.tree.map(lambda x: jnp.stack([x, x]), carry[1])
    np.testing.assert_array_equal(octl.row(lanes).words, [wanted[-1]] * 2)


def test_what_was_not_measured_is_nan():
    tx = octl.control(optax.sgd(0.1), octl.stop.patience(2), observed=("val_loss",))
    one = jax.jit(lambda x: octl.row(tx.update(x, tx.init(x), x)[1]))
    values = one(jnp.ones(2)).named()
    unknown = {name for name, value in values.items() if np.isnan(value)}
    assert unknown == {"loss", "learning_rate", "val_loss"}


def test_several_control_states_have_prefixes():
    group = lambda: octl.control(
        octl.inject(optax.sgd, learning_rate=0.1), octl.lr.plateau(2, monitor="loss")
    )
    tx = octl.control(
        optax.partition({"a": group(), "b": group()}, {"a": "a", "b": "b"}),
        octl.guard(),
    )
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    one = jax.jit(lambda x: octl.row(tx.update(x, tx.init(x), x, value=1.5)[1]))
    values = one(params).named()
    of_norm = {n: float(v) ** 2 for n, v in values.items() if n.endswith("grad_norm")}
    assert of_norm == pytest.approx(
        {"grad_norm": 5.0, "group/1/grad_norm": 2.0, "group/2/grad_norm": 3.0}
    )
    assert float(values["group/2/gauge/scale"]) == 1.0


def test_a_state_without_control_is_refused():
    with pytest.raises(TypeError, match="`row` found no control state"):
        octl.row(optax.sgd(0.1).init(jnp.ones(2)))
