"""Control state outlives a change of controllers, and best and latest are both kept."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import optaxctl as octl
from tests.host.test_checkpoint import assert_same_bits

W = jnp.ones(2)
STALE = octl.stop.patience(9, monitor="loss")
PLATEAU = octl.lr.plateau(2, factor=0.5, monitor="loss")


def trained(controller: octl.Controller, inner: Any = None) -> Any:
    """The optimizer state after five steps without a gain but in the first."""
    tx = octl.control(inner or optax.adam(0.1), controller)
    state, w = tx.init(W), W
    for _ in range(5):
        _, state = tx.update(w, state, w, value=1.0)
    return state


def fresh(controller: octl.Controller, inner: Any = None) -> Any:
    return octl.control(inner or optax.adam(0.1), controller).init(W)


def restored(tmp_path: Any, saved: Any, template: Any, **how: Any) -> Any:
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"opt": saved})
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        return checkpoints.restore({"opt": template}, **how)[0]["opt"]


def test_a_controller_more_starts_anew_and_the_others_go_on(tmp_path: Any) -> None:
    saved = trained(octl.together(stop=STALE))
    grown = octl.together(rate=PLATEAU, stop=STALE, clip=octl.clip.auto())
    with pytest.warns(UserWarning, match=r"step 5 is of other controllers: ") as said:
        found = restored(tmp_path, saved, fresh(grown))
    assert len(said) == 1
    assert str(said[0].message).endswith(
        ": `clip`, `rate` are new and start at their beginning."
    )
    reading = octl.read(found)
    assert reading.gauges["stop/stale"] == 4
    assert reading.gauges["rate/patience_left"] == 2
    assert reading.step == 5
    assert_same_bits(found.inner, saved.inner)
    tx = octl.control(optax.adam(0.1), grown)
    assert octl.read(tx.update(W, found, W, value=1.0)[1]).gauges["stop/stale"] == 5


def test_a_controller_less_is_dropped_and_said(tmp_path: Any) -> None:
    saved = trained(octl.together(rate=PLATEAU, stop=STALE))
    with pytest.warns(UserWarning, match=r"s: `rate` is gone and was dropped\.$"):
        found = restored(tmp_path, saved, fresh(octl.together(stop=STALE)))
    assert octl.read(found).gauges["stop/stale"] == 4


def test_another_patience_keeps_the_count_and_is_said(tmp_path: Any) -> None:
    saved = trained(octl.together(early=STALE))
    patient = octl.together(stop=octl.stop.patience(99, monitor="loss"))
    with pytest.warns(UserWarning, match="other controllers") as said:
        found = restored(tmp_path, saved, fresh(patient), renamed={"early": "stop"})
    assert str(said.pop().message).endswith(
        ": `stop` was stop.patience(9, monitor='loss') and is "
        "stop.patience(99, monitor='loss')."
    )
    assert not said.list
    tx = octl.control(optax.adam(0.1), patient)
    gauges = octl.read(tx.update(W, found, W, value=1.0)[1]).gauges
    assert (gauges["stop/stale"], gauges["stop/patience_left"]) == (5, 94)


def test_a_renamed_controller_is_found_by_its_old_name(tmp_path: Any) -> None:
    saved = trained(octl.together(early=STALE))
    late = fresh(octl.together(late=STALE))
    found = restored(tmp_path, saved, late, renamed={"early": "late"})
    assert octl.read(found).gauges["late/stale"] == 4
    with (
        octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(ValueError, match=r"`erly`.* has early\. Did you mean `early`\?"),
    ):
        checkpoints.restore({"opt": late}, renamed={"erly": "late"})


def test_the_same_name_for_something_else_is_refused(tmp_path: Any) -> None:
    saved = trained(octl.together(a=octl.clip.history(window=8, min_updates=4)))
    other = fresh(octl.together(a=octl.clip.history(window=4, min_updates=4)))
    with pytest.raises(
        ValueError, match=r"`controller/a/.*\[8\] in the checkpoint and "
    ):
        restored(tmp_path, saved, other)


def test_states_in_states_and_lanes_and_snapshots_come_back(tmp_path: Any) -> None:
    inner = octl.control(optax.sgd(0.1), octl.clip.history(window=4, min_updates=2))
    outer = octl.control(
        optax.chain(inner, optax.scale(0.5)),
        octl.together(stop=STALE, back=octl.rollback(octl.watch.nonfinite("loss"))),
        snapshots=octl.Snapshots(every=2),
    )

    def step(carry: Any, value: Any) -> Any:
        w, state = carry
        return octl.apply_gradients(outer, w, state, w, value=value), None

    def train(w: Any) -> Any:
        losses = jnp.array([1.0, 2.0, jnp.nan])
        return jax.lax.scan(step, (w, outer.init(w)), losses)[0][1]

    lanes = jnp.arange(1.0, 7).reshape(3, 2)
    saved = jax.jit(jax.vmap(train))(lanes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = restored(tmp_path, saved, jax.vmap(outer.init)(lanes))
    assert_same_bits(found, saved)


def test_a_plain_orbax_checkpoint_is_restored_packed(tmp_path: Any) -> None:
    """Guarded by the fingerprint, since nothing in it has a name."""
    saved = trained(octl.together(early=STALE))
    with ocp.CheckpointManager(tmp_path) as manager:
        items = ocp.args.Composite(
            state=ocp.args.StandardSave({"opt": saved}), notes=ocp.args.JsonSave({})
        )
        manager.save(5, args=items)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        template = {"opt": fresh(octl.together(early=STALE))}
        assert_same_bits(checkpoints.restore(template)[0]["opt"], saved)
        with pytest.raises(ValueError, match=r"packed by other controllers"):
            checkpoints.restore({"opt": fresh(octl.together(patient=STALE))})


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_and_the_latest_are_kept(tmp_path: Any, mode: Any) -> None:
    sign = 1 if mode == "min" else -1
    values = [np.nan, 3.0, 1.0, np.nan, 2.0, np.inf, -np.inf, 1.5]
    how: dict[str, Any] = {"keep": 2, "best": "loss", "mode": mode}
    with octl.checkpoint.Checkpoints(tmp_path, **how) as checkpoints:
        assert checkpoints.best() is None
        for step, value in enumerate(values):
            metrics = {"loss": jnp.float32(sign * value), "other": 1.0}
            checkpoints.save(step, {"x": jnp.float32(step)}, metrics=metrics)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 6, 7]
    with octl.checkpoint.Checkpoints(tmp_path, **how) as checkpoints:
        assert (checkpoints.best(), checkpoints.latest()) == (2, 7)
        tree, _ = checkpoints.restore({"x": jnp.float32(0)}, checkpoints.best())
        assert tree["x"] == 2
        with pytest.raises(
            ValueError, match=r"got the metrics los and needs `loss`.*`l"
        ):
            checkpoints.save(9, {"x": jnp.float32(0)}, metrics={"los": 1.0})


def test_the_best_of_no_metric_is_not_known(tmp_path: Any) -> None:
    with (
        octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(
            ValueError, match=r"name a metric, `Checkpoints\(..., best=...\)`"
        ),
    ):
        checkpoints.best()


def test_an_abstract_template_will_do_if_nothing_is_new(tmp_path: Any) -> None:
    saved = trained(octl.together(stop=STALE))
    template = jax.eval_shape(lambda: fresh(octl.together(stop=STALE)))
    assert_same_bits(restored(tmp_path, saved, template), saved)
    grown = jax.eval_shape(lambda: fresh(octl.together(stop=STALE, rate=PLATEAU)))
    with (
        octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(
            ValueError, match=r"rate/.* is not in the checkpoint, and the te"
        ),
    ):
        checkpoints.restore({"opt": grown})


def test_every_bit_of_a_nan_survives(tmp_path: Any) -> None:
    saved = trained(octl.together(stop=STALE))
    odd = np.array([0xFFC00001, 0x7F800001], np.uint32).view(np.float32)
    saved = saved._replace(f32=saved.f32.at[1:3].set(odd))
    assert_same_bits(restored(tmp_path, saved, fresh(octl.together(stop=STALE))), saved)
