"""The loop records itself: every step once however often it is cut, and why it ends."""

import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from optaxctl.host._obey import obey
from tests.host.test_loop import FRONT_ENDS, STEPS, batches, pytree, told

FALLS = (0.5, 0.4, 0.3, 0.35, 0.36, 0.37)


PARAMS = jnp.ones(2)
free: Any = octl.control(octl.inject(optax.sgd, learning_rate=0.1), octl.guard())


@jax.jit
def free_step(carry: Any, batch: Any) -> Any:
    return octl.apply_gradients(free, carry[0], carry[1], carry[0], value=batch[0, 0])


class Killed(Exception):
    """Stands for a process that ends within an epoch."""


def run_of(history: octl.history.History) -> octl.runs.Run:
    return octl.runs.Project(history.directory).run(history.key)


def recorded(directory: Any, build: Any, *, killed: set[int]) -> octl.runs.Run:
    """Trains until the patience of 3 is over; ends in the middle of some epochs."""
    left, found = set(killed), lambda: octl.runs.Project(directory / "runs").run()

    def cut(epoch: int) -> Any:
        if saved := checkpoints.latest():  # which a kill cannot take away any more
            assert found().step >= saved
        for n, batch in enumerate(batches(epoch)):
            if n == 1 and epoch in left:
                left.remove(epoch)
                raise Killed
            yield batch

    while True:
        program = build() | {"batches": cut}
        try:
            with (
                octl.history.History(directory / "runs", name="cut") as history,
                octl.checkpoint.Checkpoints(directory / "saved") as checkpoints,
            ):
                done = (checkpoints.latest() or 0) // STEPS
                for _ in octl.loop.epochs(
                    **program,
                    evaluate=told(*FALLS[done:]),
                    max_epochs=20,
                    checkpoints=checkpoints,
                    history=history,
                ):
                    pass
            return found()
        except Killed:
            assert found().status == "failed"


@FRONT_ENDS
def test_every_step_is_recorded_once_however_the_run_was_cut(
    build: Any, tmp_path: Any
) -> None:
    whole = recorded(tmp_path / "whole", build, killed=set())
    pieces = recorded(tmp_path / "pieces", build, killed={0, 2, 3})
    found = octl.runs.Project(tmp_path / "pieces" / "runs").runs()
    assert [run.status for run in found] == ["stopped", "failed"]  # none was saved yet
    for run in (whole, pieces):
        assert run.step == 6 * STEPS + 1
        assert run.reason.startswith("val_loss has not beaten 0.3 for 3 checks; stop")
        assert [number for number, _ in run.summary["epochs"]] == [1, 2, 3, 4, 5, 6]
    assert pieces.names() == whole.names()
    made = [run.environment["controllers"]["stop"] for run in (whole, pieces)]
    assert made == ["stop.patience(3)"] * 2
    for name in whole.names():
        np.testing.assert_array_equal(pieces.series(name), whole.series(name), name)
    events = [
        [{**vars(e), "id": 0, "time": 0} for e in r.events()] for r in (whole, pieces)
    ]
    assert sorted(events[0], key=str) == sorted(events[1], key=str)
    refused = [event.step for event in pieces.events() if event.kind == "refused"]
    assert refused == [STEPS + 2]
    assert pieces.series("val_loss", first=6)[0][0] == 2 * STEPS


@pytest.mark.parametrize("saving", [False, True])
def test_what_the_user_asks_for_is_done_answered_and_recorded(
    saving: bool, tmp_path: Any
) -> None:
    asked = {2: {"lr_scale": 0.5}, 3: {"learning_rate": 0.25}, 5: {"stop": True}}

    def evaluate(carry: Any) -> dict[str, float]:
        step = octl.read(carry).step
        if what := asked.pop(step // STEPS, None):
            history.flush()
            run_of(history).ask(**what)
            history.flush()  # the thread looks
        return {"val_loss": 1.0 / step}

    with octl.history.History(tmp_path, name="told") as history:
        *_, last = octl.loop.epochs(
            **pytree(),
            evaluate=evaluate,
            max_epochs=30,
            checkpoints=octl.checkpoint.Checkpoints(tmp_path / "saved")
            if saving
            else None,
            look_every=1,
            history=history,
        )
    run = run_of(history)
    assert last.reason == "The user asked to stop. Stopping at step 17."
    assert (run.step, run.status, run.reason) == (17, "stopped", last.reason)
    answers = [(c["acknowledged_step"], c["outcome"]) for c in run.commands()]
    events = [e for e in run.events() if e.actor == "user"]
    assert answers == [(event.step, event.outcome) for event in events]
    assert [(event.step, event.kind) for event in events] == [
        *((8, "lr_scale"), (11, "learning_rate"), (17, "stop"))
    ]
    assert [events[0].old, events[0].new] == pytest.approx(
        [x * run.series("lr_scale")[1][7] for x in (0.1, 0.05)]
    )
    rates, scales = (run.series(n)[1] for n in ("learning_rate", "lr_scale"))
    by_hand = np.repeat([0.1, 0.05, 0.25 * 0.5], [8, 3, 6])
    np.testing.assert_allclose(np.divide(rates, scales), by_hand, rtol=1e-6)


def test_a_command_that_cannot_be_done_is_refused_and_changes_nothing(
    tmp_path: Any,
) -> None:
    tx: Any = octl.control(optax.sgd(0.1), octl.guard())

    def evaluate(carry: Any) -> dict[str, float]:
        history.flush()
        run_of(history).ask(lr_scale=0.5)
        history.flush()
        return {"val_loss": 0.0}

    def step(carry: Any, batch: Any) -> Any:
        return octl.apply_gradients(tx, jnp.ones(2), carry[1], carry[0], value=1.0)

    with octl.history.History(tmp_path) as history:
        carry = (jnp.ones(2), tx.init(jnp.ones(2)))
        for _ in octl.loop.epochs(
            step,
            carry,
            lambda n: [0, 1],
            evaluate=evaluate,
            max_epochs=2,
            history=history,
        ):
            pass
    run = run_of(history)
    first, second = run.commands()
    assert first["outcome"].startswith("Refused: `set_lr_scale` found no learning rate")
    assert second["outcome"] == "Not taken up: the run had ended."
    assert run.events() == []
    assert (run.status, run.reason) == (
        "finished",
        "All 2 epochs are done, at step 4.",
    )


def test_a_run_goes_on_after_a_stop_and_where_its_record_is_gone(tmp_path: Any) -> None:
    def train(epochs: int, *, ask: bool = False) -> Any:
        def evaluate(carry: Any) -> dict[str, Any]:
            if ask and octl.read(carry).step == STEPS:
                run_of(history).ask(stop=True)
                history.flush()
            return {"val_loss": 1.0, "loss": 7.0, "step": 9.0}

        with (
            octl.history.History(tmp_path / "runs", name=str(epochs)) as history,
            octl.checkpoint.Checkpoints(tmp_path / "saved") as checkpoints,
        ):
            assert history.key  # begins a run, which is dropped if another goes on
            *_, last = octl.loop.epochs(
                **(
                    pytree() | {"carry": (PARAMS, free.init(PARAMS)), "step": free_step}
                ),
                evaluate=evaluate,
                max_epochs=epochs,
                checkpoints=checkpoints,
                history=history,
            )
        return last, run_of(history)

    last, first = train(9, ask=True)
    assert last.reason == "The user asked to stop. Stopping at step 6."
    last, second = train(3)
    assert (last.reason, second.key) == ("All 3 epochs are done, at step 9.", first.key)
    assert [run.key for run in octl.runs.Project(tmp_path / "runs").runs()] == [
        first.key
    ]
    # A metric with the name of a column is beside it.
    assert second.series("loss")[0] == second.series("step")[0] == [*range(1, 10)]
    assert second.series("eval/loss")[1] == [7.0] * 3
    shutil.move(tmp_path / "runs", tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match=f"no run '{first.key}'.* new one is recorded"):
        _, third = train(4)
    assert (third.name, third.series("step")[0]) == ("4", [10, 11, 12])


def test_what_is_set_reaches_every_rate_that_control_owns(tmp_path: Any) -> None:
    def owning(rate: float) -> Any:
        return octl.control(octl.inject(optax.sgd, learning_rate=rate), octl.guard())

    labels = {"a": "hidden", "b": "one", "c": "two"}
    parts: dict[Any, Any] = {"hidden": octl.control(optax.sgd(0.5), octl.guard())}
    parts |= {"one": owning(0.1), "two": owning(0.2)}
    tx = optax.partition(parts, labels)
    params = dict.fromkeys("abc", jnp.ones(2))
    state = tx.init(params)
    with octl.history.History(tmp_path) as history:
        for what in ({"learning_rate": 0.01}, {"stop": True}, {"lr_scale": 0.5}):
            history.flush()
            run_of(history).ask(**what)
        history.flush()
        state, stop = obey(state, history)
    assert stop
    assert [g.learning_rate for g in octl.read(state).groups] == [
        None,
        *[pytest.approx(0.005)] * 2,
    ]
    told = [command["outcome"] for command in run_of(history).commands()]
    assert told == [
        "The learning rate goes from 0.1 to 0.01 and from 0.2 to 0.01.",
        "Stopping at step 0.",
        "The learning rate goes from 0.01 to 0.005 and from 0.01 to 0.005.",
    ]
