"""A run whose data break it goes back to a checkpoint, alike however it is cut up."""

import itertools
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import optaxctl as octl
from optaxctl.host._aside import earlier
from tests.host.test_loop import leaves

STEPS = 40  # per epoch
BAD = {(2, n) for n in range(10, 30)}
"""The batches whose images a broken disk has filled with numbers a million times too
large. The loop looks after the 25th."""

controller = octl.together(
    recover=octl.rollback(octl.lasting(2, octl.watch.excess(10.0))),
    plateau=octl.lr.plateau(2, factor=0.5, monitor="val_loss"),
)
momentum = octl.inject(optax.sgd, learning_rate=0.05, momentum=0.9)
tx = octl.control(momentum, controller, observed=("val_loss",))
TRUTH = np.arange(4, dtype=np.float32)


def batches(epoch: int, bad: Any = BAD) -> Any:
    rng = np.random.default_rng(epoch)
    for n in range(STEPS):
        x = rng.standard_normal((8, 4), np.float32)
        noise = 0.1 * rng.standard_normal(8, np.float32)
        yield x, (x @ TRUTH + noise) * np.float32(1e3 if (epoch, n) in bad else 1)


def error(w: Any, x: Any, y: Any) -> Any:
    return jnp.mean((x @ w - y) ** 2)


@jax.jit
def pytree_step(carry: Any, batch: Any) -> Any:
    params, opt_state = carry
    value, grads = jax.value_and_grad(lambda p: error(p["w"], *batch))(params)
    return octl.apply_gradients(tx, grads, opt_state, params, value=value)


def pytree() -> dict[str, Any]:
    params = {"w": jnp.zeros(4)}
    return {"step": pytree_step, "carry": (params, tx.init(params))}


class Line(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jnp.zeros(4))


@nnx.jit
def nnx_step(carry: Any, batch: Any) -> None:
    model, optimizer = carry
    loss = lambda model: error(model.w[...], *batch)
    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads, value=value)


def nnx_objects() -> dict[str, Any]:
    model = Line()
    return {
        "step": nnx_step,
        "carry": (model, nnx.Optimizer(model, tx, wrt=nnx.Param)),
        "pure": lambda carry: nnx.as_pure(nnx.state(carry)),
        "restore": nnx.update,
    }


def weights(carry: Any) -> Any:
    return jax.tree.leaves(nnx.as_pure(nnx.state(carry[0])))[0]


def evaluate(carry: Any) -> dict[str, Any]:
    x = np.random.default_rng(99).standard_normal((64, 4), np.float32)
    return {"val_loss": error(weights(carry), x, x @ TRUTH)}


def train(directory: Any, build: Any = pytree, keep: int = 1, **options: Any) -> Any:
    given = {"batches": batches, "evaluate": evaluate, "max_epochs": 4}
    with octl.checkpoint.Checkpoints(directory, keep=keep) as checkpoints:
        yield from octl.loop.epochs(
            **{**build(), **given, "checkpoints": checkpoints, **options}
        )


def found(directory: Any) -> list[int]:
    with octl.checkpoint.Checkpoints(directory) as checkpoints:
        return checkpoints.steps()


@pytest.mark.parametrize("build", [pytree, nnx_objects])
def test_it_goes_back_to_the_last_healthy_end_of_an_epoch(
    build: Any, tmp_path: Any
) -> None:
    log = []
    run = build()

    def step(carry: Any, batch: Any) -> Any:
        log.append((octl.read(carry).step, leaves(weights(carry))))
        return run["step"](carry, batch)

    with octl.history.History(tmp_path / "runs") as history:
        records = list(train(tmp_path, lambda: {**run, "step": step}, history=history))
    # No batch is seen twice, control counts on, and the weights are those of then.
    assert [count for count, _ in log] == list(range(4 * STEPS))
    assert log[105][1] == log[80][1] != log[104][1]
    assert [r.number for r in records if r.rewind] == [3]
    told = records[2].rewind
    assert (told.step, told.to, told.alarms) == (105, 80, ("loss_spike",))
    assert (told.tries, told.gave_up) == (1, False)
    assert str(records[2]).endswith(
        " s. The loss is far above its recent values. Went back from step 105 to step "
        "80; the batches of steps 81 to 105 are skipped. What was wrong is saved in "
        f"{tmp_path}/emergency/105."
    )
    recorded = octl.runs.Project(tmp_path / "runs").run()
    events = [event for event in recorded.events() if event.actor == "loop"]
    assert [(e.step, e.kind) for e in events] == [(105, "emergency"), (105, "rewind")]
    assert (events[0].outcome.endswith("105."), events[1].reason) == (True, str(told))
    assert recorded.series("step")[0] == list(range(1, 4 * STEPS + 1))
    assert records[-1].reading.rewinds == 1
    assert records[-1].metrics["val_loss"] < 0.01
    with octl.checkpoint.Checkpoints(tmp_path / "emergency") as places:
        pure = run.get("pure", lambda carry: carry)
        tree, notes = places.restore({"carry": pure(build()["carry"])})
    assert notes["healthy"] is False
    assert leaves(jax.tree.leaves(tree["carry"][0])[0]) == log[104][1]


class Leave(octl.interrupt.Interrupt):
    """A signal that comes after so many steps."""

    name = "SIGTERM"

    def __init__(self, steps: int) -> None:
        self.left = steps

    def reached(self, step: int) -> bool:
        self.left -= 1
        return self.left == 0


def test_a_run_cut_up_around_a_rewind_is_the_same_run(tmp_path: Any) -> None:
    """Interrupted long before it, at the very end of the epoch that it goes back to,
    before the loop sees it, and after it; and killed.
    """
    *_, whole = told = list(train(tmp_path / "whole"))
    for steps, end in ((60, 40), (80, 40), (93, 80), (105, 80)):
        directory = tmp_path / str(steps)
        with pytest.raises(octl.interrupt.Interrupted, match=f"saved at step {steps}"):
            list(train(directory, interrupt=Leave(steps)))
        assert (found(directory), found(directory / "interim")) == ([end], [steps])
        rest = list(train(directory))
        assert rest == told[-len(rest) :]
        assert leaves(rest[-1].carry) == leaves(whole.carry)
        assert found(directory) == found(tmp_path / "whole")
    assert list(train(directory, step=None)) == [whole]

    def killed(epoch: int) -> Any:
        for n, batch in enumerate(batches(epoch)):
            if (epoch, n) == (3, 20):
                raise MemoryError
            yield batch

    with pytest.raises(MemoryError):
        list(train(tmp_path / "killed", batches=killed))
    # The epoch that was taken back is no place to go back to, but one to go on from.
    assert found(tmp_path / "killed") == [80]
    assert found(tmp_path / "killed" / "interim") == [120]
    shutil.copytree(tmp_path / "killed", tmp_path / "damaged")
    rest = list(train(tmp_path / "killed"))
    assert rest == told[2:]
    assert leaves(rest[-1].carry) == leaves(whole.carry)
    for file in (tmp_path / "damaged" / "interim" / "120" / "notes").iterdir():
        file.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"no sound .* The run goes on from step 80\."):
        rest = list(train(tmp_path / "damaged"))
    assert rest == told[1:]


def test_the_first_epoch_has_something_to_go_back_to_as_well(tmp_path: Any) -> None:
    bad = {(0, n) for n in range(5, 20)}
    first, *_, last = train(tmp_path, batches=lambda n: batches(n, bad), max_epochs=2)
    assert (first.rewind.step, first.rewind.to) == (25, 0)
    assert last.metrics["val_loss"] < 0.1


def test_what_the_controllers_reject_once_it_is_evaluated_is_not_gone_back_to(
    tmp_path: Any,
) -> None:
    """The end of the third epoch is saved before they can answer its evaluation."""
    rule = octl.respond(octl.watch.excess(10.0, monitor="val_loss"), rewind=True)
    watched = octl.control(optax.sgd(0.01), rule, observed=("val_loss",))

    @jax.jit
    def step(carry: Any, batch: Any) -> Any:
        w, opt_state = carry
        return octl.apply_gradients(watched, jnp.ones(4), opt_state, w)

    tape = iter([1.0, 1.0, 99.0, 1.0])
    records = train(
        tmp_path,
        lambda: {"step": step, "carry": (jnp.zeros(4), watched.init(jnp.zeros(4)))},
        keep=2,
        evaluate=lambda carry: {"val_loss": next(tape)},
    )
    assert [r.rewind and r.rewind.to for r in records] == [None, None, 80, None]
    assert found(tmp_path) == [80, 160]


@pytest.mark.parametrize(
    ("damaged", "tries", "before", "to", "left"),
    [
        ([20], 1, 30, 10, [10]),
        ([10, 20], 1, 30, 30, [10, 20, 30]),
        ([20], 2, 40, 10, [10, 30]),
        ([10], 3, 40, 30, [10, 20, 30]),
        ([30], 1, 40, 20, [10, 20]),
    ],
)
@pytest.mark.filterwarnings("ignore:.*damaged", "ignore:.*no sound checkpoint")
def test_damage_on_the_way_back_costs_nothing_that_is_sound(
    damaged: Any, tries: int, before: int, to: int, left: Any, tmp_path: Any
) -> None:
    with octl.checkpoint.Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, {"w": jnp.full(2, step)}, {"step": step})
        checkpoints.wait()
        for step in damaged:
            (tmp_path / str(step) / "state" / "manifest.ocdbt").write_bytes(b"")
        tree, _ = earlier(checkpoints, {"w": jnp.zeros(2, int)}, tries, before)
        assert (tree["w"][0], checkpoints.steps()) == (to, left)


def test_it_gives_up_with_a_report_in_the_last_healthy_state(tmp_path: Any) -> None:
    """From the third epoch on every batch is bad; a second try goes back further."""
    bad = set(itertools.product(range(2, 9), range(STEPS)))
    options = {
        "batches": lambda n: batches(n, bad),
        "max_epochs": 9,
        "max_rewinds": 2,
        "keep": 2,
    }
    seen = []

    def evaluating(carry: Any) -> dict[str, Any]:
        seen.append(leaves(carry[0]))
        return evaluate(carry)

    records = list(train(tmp_path, evaluate=evaluating, **options))
    last = records[-1]
    tries = [(r.rewind.step, r.rewind.to, r.rewind.tries) for r in records if r.rewind]
    assert tries == [(120, 40, 2), (145, 80, 3)]
    assert (last.stopped, last.step) == (True, 145)
    assert last.reason == (
        "The loss is far above its recent values. Giving up at step 145: a controller "
        "asked to rewind 3 times in a row, and going back did not help. The run ends "
        f"with the healthy state of step 80 from {tmp_path}; the batches of steps 81 "
        "to 145 are skipped. To train on from it, change what led here and delete "
        f"{tmp_path}/interim."
    )
    assert leaves(last.carry[0]) == seen[1]
    assert found(tmp_path) == [40, 80]
    assert [r.emergency for r in records[2:]] == [
        f"{tmp_path}/emergency/105",
        f"{tmp_path}/emergency/145",
    ]
    assert list(train(tmp_path, step=None, **options)) == [last]
    with pytest.raises(octl.interrupt.Interrupted):
        list(train(tmp_path / "cut", interrupt=Leave(110), **options))
    assert list(train(tmp_path / "cut", **options)) == records[2:]
