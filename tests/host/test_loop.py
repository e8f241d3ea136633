"""The loop stops, keeps the best and resumes alike for pytrees and NNX objects."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optaxctl as octl
from optaxctl.host import _obey, _run

STEPS = 3  # per epoch


controller = octl.together(
    rate=octl.lr.follow(octl.schedules.cosine(40)),
    stop=octl.stop.patience(3),
    clip=octl.clip.zscore(warmup_updates=4),
    guard=octl.guard(),
)
adam = octl.inject(optax.adam, learning_rate=0.1)
tx = octl.control(adam, controller, observed=("val_loss",))


def batches(epoch):
    rng = np.random.default_rng(epoch)
    for n in range(STEPS):
        x = rng.standard_normal((4, 2), np.float32)
        yield x * np.float32("nan") if (epoch, n) == (1, 1) else x


@jax.jit
def pytree_step(carry, x):
    params, opt_state = carry
    loss = lambda p: jnp.mean((x @ p["w"] - 1) ** 2)
    value, grads = jax.value_and_grad(loss)(params)
    return octl.apply_gradients(tx, grads, opt_state, params, value=value)


def pytree() -> dict[str, Any]:
    params = {"w": jnp.ones((2, 1))}
    carry = (params, tx.init(params))
    return {"step": pytree_step, "carry": carry, "batches": batches}


@nnx.jit
def nnx_step(carry, x):
    model, optimizer = carry
    loss = lambda model: jnp.mean((model(x) - 1) ** 2)
    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads, value=value)


def nnx_objects() -> dict[str, Any]:
    # Dropout, so that random state has to be carried too.
    model = nnx.Sequential(
        nnx.Linear(2, 1, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(1))
    )
    return {
        "step": nnx_step,
        "carry": (model, nnx.Optimizer(model, tx, wrt=nnx.Param)),
        "batches": batches,
        "pure": octl.nnx.pure,
        "restore": octl.nnx.restore,
    }


FRONT_ENDS = pytest.mark.parametrize("build", [pytree, nnx_objects])


def told(*values):
    """An evaluation that says these values, the last one for ever."""
    tape = itertools.chain(values, itertools.repeat(values[-1]))
    return lambda carry: {"val_loss": next(tape)}


def from_params(run):
    """An evaluation that depends on nothing but the parameters."""
    pure = run.get("pure", lambda carry: carry)
    params = lambda carry: jax.tree.leaves(pure(carry)[0])[0]
    return lambda carry: {"val_loss": jnp.sum(params(carry) ** 2)}


def leaves(tree):
    data = lambda x: (
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    )
    return [np.asarray(data(x)).tobytes() for x in jax.tree.leaves(tree)]


@FRONT_ENDS
def test_patience_ends_the_run_in_the_step_after_the_evaluation(build):
    tape = told(3.0, 2.0, 0.5, 0.75, 1.0, 0.5, 0.1)
    *_, last = octl.loop.epochs(**build(), evaluate=tape, max_epochs=20)
    assert (last.number, last.step, last.stopped) == (6, 6 * STEPS + 1, True)
    assert last.reason == (
        "val_loss has not beaten 0.5 for 3 checks; stopping at step 19."
    )
    assert (last.best, last.since_best, last.reading.refused) == (0.5, 3, 1)


@FRONT_ENDS
@pytest.mark.parametrize("max_epochs", [4, 20])
def test_the_best_parameters_are_those_of_the_best_epoch(build, max_epochs):
    run = build()
    pure = run.get("pure", lambda carry: carry)
    tape, seen = told(math.nan, 2.0, 0.5, math.nan, 0.5, 0.7), []

    def evaluate(carry):
        seen.append(leaves(pure(carry)[0]))
        return tape(carry)

    *_, last = octl.loop.epochs(**run, evaluate=evaluate, max_epochs=max_epochs)
    assert last.stopped == (max_epochs == 20)
    assert last.best == 0.5
    assert leaves(last.best_params) == seen[2] != seen[-1]


def test_a_run_of_nan_has_no_best_and_stops():
    *_, last = octl.loop.epochs(**pytree(), evaluate=told(math.nan), max_epochs=9)
    assert (last.best, last.number) == (None, 3)
    assert last.reason == (
        "The monitored signal stopped improving. Stopping at step 10."
    )


def test_max_mode_keeps_the_highest():
    evaluate = lambda carry: {"val_loss": 1.0, "accuracy": next(tape)}
    tape = iter([0.5, 0.9, math.inf, 0.8])
    records = list(
        octl.loop.epochs(
            **pytree(), evaluate=evaluate, max_epochs=3, monitor="accuracy", mode="max"
        )
    )
    assert [r.best for r in records] == pytest.approx([0.5, 0.9, 0.9])
    assert [r.since_best for r in records] == [0, 0, 1]


def test_a_run_without_a_stop_ends_with_its_last_epoch():
    records = list(octl.loop.epochs(**pytree(), evaluate=told(2.0, 1.0), max_epochs=2))
    assert [r.number for r in records] == [1, 2]
    assert [r.reason for r in records] == ["", "All 2 epochs are done, at step 6."]
    assert not records[-1].stopped


def test_a_record_knows_the_answer_to_its_evaluation():
    records = octl.loop.epochs(**pytree(), evaluate=told(2.0, 3.0), max_epochs=9)
    first, second = itertools.islice(records, 2)
    gauges = [r.reading.gauges["stop/patience_left"] for r in (first, second)]
    assert gauges == [3, 2]
    assert first.reading.gauges["stop/to_beat"] == first.best == 2.0


def test_the_rate_range_covers_the_whole_run():
    first, *_, last = octl.loop.epochs(
        **pytree(), evaluate=told(*np.arange(9.0, 0, -1)), max_epochs=5
    )
    assert first.lr_range is not None
    assert last.lr_range is not None
    assert last.lr_range[1] == first.lr_range[1] == pytest.approx(0.1)
    assert last.lr_range[0] == last.reading.learning_rate != first.lr_range[0]


def test_a_record_prints_as_one_line():
    first, *_ = octl.loop.epochs(**pytree(), evaluate=told(0.25), max_epochs=2)
    line = str(first)
    assert line.startswith("epoch 1/2, step 4, val_loss 0.25, best 0.25, lr 9.")
    assert line.endswith(" s")


def test_the_device_is_waited_for_now_and_then_and_not_in_every_step(
    monkeypatch, tmp_path
):
    """Reads: at first, after the first step of an epoch, and at its end two at once.

    With checkpoints also after 20 and 40 steps. Interrupt and history ask for none.
    """
    reads, read = [], lambda carry: reads.append(1) or octl.read(carry)
    for module in (_run, _obey):
        monkeypatch.setattr(module, "read", read)
    monkeypatch.setitem(globals(), "STEPS", 50)
    evaluate = told(3.0, 2.0, 1.0)
    list(octl.loop.epochs(**pytree(), evaluate=evaluate, max_epochs=3))
    assert len(reads) == 1 + 3 * 3
    reads.clear()
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        options = {"checkpoints": checkpoints, "look_every": 20, "max_epochs": 3}
        options |= {"interrupt": octl.interrupt.Interrupt()}
        options |= {"history": octl.history.History(tmp_path / "runs")}
        list(octl.loop.epochs(**pytree(), evaluate=evaluate, **options))
    assert len(reads) == 1 + 3 * 5


@FRONT_ENDS
@pytest.mark.parametrize("interrupted_after", [1, 2, 5])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    build, interrupted_after, tmp_path
):
    def run(directory, records=None):
        run = build()
        with octl.checkpoint.Checkpoints(tmp_path / directory) as checkpoints:
            done = octl.loop.epochs(
                **run,
                evaluate=from_params(run),
                max_epochs=7,
                checkpoints=checkpoints,
                save_every=2,
            )
            return list(itertools.islice(done, records))

    whole = run("whole")
    run("parts", interrupted_after)
    resumed = run("parts")
    # It goes on from the last even epoch, whose record it tells again.
    assert resumed[0].number == max(interrupted_after // 2 * 2, 1)
    assert resumed == whole[-len(resumed) :]
    pure = build().get("pure", lambda carry: carry)
    assert leaves(pure(resumed[-1].carry)) == leaves(pure(whole[-1].carry))
    assert leaves(resumed[-1].best_params) == leaves(whole[-1].best_params)


@FRONT_ENDS
@pytest.mark.parametrize("tape", [(1.0,), (4.0, 3.0, 2.0, 1.0, 0.5)])
def test_a_finished_run_tells_its_end_again_without_a_step(build, tape, tmp_path):
    def run(**changes):
        with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
            return list(
                octl.loop.epochs(
                    **(build() | changes),
                    evaluate=told(*tape),
                    max_epochs=5,
                    checkpoints=checkpoints,
                    save_every=3,
                )
            )

    *_, last = run()
    assert last.reason
    assert run(step=None) == [last]
    assert leaves(run(step=None)[0].best_params) == leaves(last.best_params)


def test_controllers_of_the_same_name_go_on_beside_new_ones(tmp_path):
    def run(**controllers):
        controller = octl.together(**controllers)
        tx = octl.control(optax.sgd(0.1), controller, observed=("val_loss",))
        model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
        carry = (model, nnx.Optimizer(model, tx, wrt=nnx.Param))
        with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
            options = {**nnx_objects(), "carry": carry, "checkpoints": checkpoints}
            return list(octl.loop.epochs(**options, evaluate=told(1.0), max_epochs=3))

    stopper = octl.stop.patience(3)
    run(stop=stopper)
    with pytest.warns(UserWarning, match="`clip` is new and starts at its beginning"):
        (last,) = run(clip=octl.clip.quantile(), stop=stopper)
    assert (last.step, last.reading.gauges["stop/stale"]) == (3 * STEPS, 1)


@pytest.mark.parametrize(
    ("metrics", "options", "message"),
    [
        ({"val_los": 1.0}, {}, "val_los but not `val_loss`.*mean `val_los`"),
        (
            {"accuracy": 1.0},
            {"monitor": "accuracy"},
            "not `val_loss`, and the controllers wait for it",
        ),
        ({"val_loss": 1.0}, {"monitor": "f1"}, "not `f1`, and `monitor` names it"),
        ({}, {}, "returned nothing"),
    ],
)
def test_a_metric_that_is_waited_for_must_be_measured(metrics, options, message):
    with pytest.raises(TypeError, match=message):
        list(
            octl.loop.epochs(
                **pytree(), evaluate=lambda carry: metrics, max_epochs=1, **options
            )
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epochs": 0}, r"loop.epochs\(max_epochs=...\)` must be >= 1"),
        ({"max_epochs": 1, "save_every": 0}, r"save_every=...\)` must be >= 1"),
        ({"max_epochs": 1, "look_every": 0}, r"look_every=...\)` must be >= 1"),
        ({"max_epochs": 1, "max_rewinds": 0}, r"max_rewinds=...\)` must be >= 1"),
        ({"max_epochs": 1, "mode": "least"}, "mode"),
        ({"max_epochs": 2, "batches": lambda n: range(0)}, r"`batches\(0\)` gave no"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        list(octl.loop.epochs(**(pytree() | options), evaluate=told(1.0)))
