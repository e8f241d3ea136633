"""Every step is recorded once, whatever happens to the run."""

import json
import sqlite3
import threading
from contextlib import suppress

import jax
import jax.numpy as jnp
import pytest

import optaxctl as octl
from optaxctl.host import _database, _worker
from optaxctl.host.interrupt import Interrupted
from optaxctl.host.runs import Project, UnknownRun
from tests.host._rows import row


def run_of(history):
    return Project(history.directory).run(history.key)


def losses(history):
    return run_of(history).series("loss")


def test_everything_is_recorded(tmp_path):
    config = {"lr": {"initial": 0.1}}
    history = octl.history.History(
        tmp_path, name="A b!", config=config, modes={"accuracy": "max"}
    )
    with history as h:
        for step in range(1, 51):
            bad = 10 <= step < 13
            h.write(row(step, loss=lambda s: 1 / s, refused=lambda s, b=bad: b))
        h.write(row(range(51, 101), loss=lambda s: 1 / s, learning_rate=lambda s: 0.2))
        h.evaluated(50, val_loss=jnp.float32(0.5), accuracy=0.25)
        h.evaluated(100, val_loss=0.75, accuracy=0.75)
        h.epoch(1, 2.5)
        h.event(60, "set", old=1, new=0.5, reason="By hand.", evidence={"who": "me"})
    run = run_of(h)
    assert run.key.startswith("a-b-")
    assert (run.name, run.status, run.step, run.config) == (
        *("A b!", "finished", 100, config),
    )
    assert run.environment["pid"]
    steps, values = run.series("loss")
    assert steps == list(range(1, 101))
    assert values == pytest.approx([1 / s for s in steps])
    assert run.series("accuracy") == ([50, 100], [0.25, 0.75])
    s = run.summary
    assert {
        n: s[n] for n in ("steps", "accepted", "refused", "clipped", "rewinds")
    } == {"steps": 100, "accepted": 100, "refused": 3, "clipped": 0, "rewinds": 0}
    assert s["best"] == {"loss": [0.01, 100], "val_loss": [0.5, 50]} | {
        "accuracy": [0.75, 100]
    }
    assert (s["lr"], s["epochs"]) == ([0.1, 0.2], [[1, 2.5]])
    assert s["events"] == {"warning": 1, "info": 1}
    assert s["last"]["loss"] == 0.01
    assert s["last"]["val_loss"] == 0.75
    by_kind = {event.kind: event for event in run.events()}
    assert by_kind["refused"].outcome == "3 steps were refused, until step 12."
    by_hand = by_kind["set"]
    assert (by_hand.actor, by_hand.old, by_hand.evidence) == (
        "user",
        1.0,
        {"who": "me"},
    )


def test_a_step_goes_through_jit_and_a_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(_worker, "WAKE", 8)
    step = jax.jit(lambda r: r._replace(words=r.words.at[:2].add(1)))
    now = row(0)
    with octl.history.History(tmp_path) as history:
        for _ in range(500):
            now = step(now)
            history.write(now)
        history.flush()
        assert losses(history)[0] == list(range(1, 501))
        assert run_of(history).status == "running"


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(_worker, "WAKE", 8)
    monkeypatch.setattr(_worker, "HELD", 16 * _worker.ROW)
    with octl.history.History(tmp_path) as history:
        history.flush()
        worker = history._worker
        assert worker
        monkeypatch.setattr(worker._wake, "set", lambda: None)  # the thread sleeps on
        most = 0
        for step in range(1, 200):
            history.write(row(step))
            most = max(most, len(worker._queue))
        monkeypatch.undo()
    assert most <= 16
    assert losses(history)[0] == list(range(1, 200))


def test_a_resumed_run_has_every_step_once(tmp_path):
    with octl.history.History(tmp_path, name="a", config={"x": 1}) as first:
        first.write(row(range(1, 31), loss=lambda s: s, refused=lambda s: s == 21))
        first.evaluated(10, val_loss=1.0)
        first.evaluated(30, val_loss=0.1)
        first.epoch(1, 1.0)
        first.epoch(2, 1.0)
    with octl.history.History(tmp_path, resume=first.key) as second:
        assert run_of(second).status == "running"
        second.write(row(range(21, 41), loss=lambda s: -s, clipped=lambda s: s == 25))
        second.epoch(2, 3.0)
    run = run_of(second)
    wanted = [*range(1, 21), *range(-21, -41, -1)]
    assert run.series("loss") == (list(range(1, 41)), wanted)
    assert run.evaluations() == {"val_loss": ([10], [1.0])}
    assert [event.kind for event in run.events()] == ["clipped"]
    s = run.summary
    assert (s["steps"], s["refused"], s["clipped"]) == (40, 0, 1)
    assert (s["best"]["val_loss"], s["best"]["loss"]) == ([1.0, 10], [-40.0, 40])
    assert (s["epochs"], s["events"]) == ([[1, 1.0], [2, 3.0]], {"info": 1})
    assert (run.config, run.status) == ({"x": 1}, "finished")
    with pytest.raises(UnknownRun, match="no run 'b'"):
        octl.history.History(tmp_path, resume="b")


def test_going_back_in_one_process_forgets_what_was_later(tmp_path):
    with (
        pytest.warns(UserWarning, match="^Step 3 came after step 4; what was recorded"),
        octl.history.History(tmp_path) as history,
    ):
        list(map(history.write, map(row, (1, 2, 3, 4, 3, 4, 5, 4))))
    assert losses(history)[0] == [1, 2, 3, 4]


def test_other_controllers_add_columns(tmp_path):
    with octl.history.History(tmp_path) as history:
        history.write(row(1))
        history.write(row(2, more={"gauge/new": "f"}, **{"gauge/new": lambda s: 0.5}))
        history.write(row(3))
    run = run_of(history)
    assert run.series("loss") == ([1, 2, 3], [1.0, 1.0, 1.0])
    steps, values = run.series("gauge/new")
    assert (steps, values[0]) == ([2, 3], 0.5)
    assert values[1] != values[1]


def test_several_writers_share_a_file(tmp_path):
    def write(name):
        with octl.history.History(tmp_path, name=name) as history:
            for step in range(1, 101):
                history.write(row(step))
                if step % 10 == 0:
                    history.flush()

    threads = [threading.Thread(target=write, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = Project(tmp_path).runs()
    assert sorted(run.name for run in runs) == ["w0", "w1", "w2", "w3"]
    assert all(run.series("loss")[0] == list(range(1, 101)) for run in runs)


def test_sinks_get_every_record_and_may_fail(tmp_path):
    def broken(records):
        raise ConnectionError("offline")

    file = tmp_path / "run.jsonl"
    sinks = [broken, octl.history.jsonl(file)]
    history = octl.history.History(tmp_path, name="a", sinks=sinks)
    with pytest.warns(UserWarning, match=r"sink of the history failed.*offline"):
        history.flush()
    history.write(row(range(1, 3), clipped=lambda s: s == 2))
    history.flush()
    history.evaluated(2, val_loss=float("inf"))
    with pytest.warns(UserWarning, match="failed; 7 records did not reach it"):
        history.ended("stopped", "Enough.")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    kinds = [record["record"] for record in records]
    assert sorted(kinds) == ["end", "evaluation", *["event"] * 2, "run", "step", "step"]
    assert (kinds[0], kinds[-1]) == ("run", "end")
    steps = [record for record in records if record["record"] == "step"]
    assert [(r["step"], r["clipped"]) for r in steps] == [(1, 0), (2, 1)]
    (evaluation,) = (r for r in records if r["record"] == "evaluation")
    assert evaluation["val_loss"] == "Infinity"
    assert run_of(history).reason == "Enough."


def test_tensorboard_gets_scalars_and_text(tmp_path):
    board = tmp_path / "board"
    sink = octl.history.tensorboard(board)
    with octl.history.History(tmp_path, name="a", sinks=[sink]) as history:
        history.write(row(range(1, 3)))
        history.event(2, "set", reason="By hand.")
    (file,) = board.iterdir()
    content = file.read_bytes()
    for word in (b"learning_rate", b"By hand.", b"clip_norm"):
        assert word in content


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (None, "stopped", "The budget is used up. Stopping at step 3."),
        (ValueError("no"), "failed", "ValueError: no"),
        (SystemExit(0), "stopped", "The budget is used up. Stopping at step 3."),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (KeyboardInterrupt(), "interrupted", ""),
        (Interrupted("bye"), "interrupted", "bye"),
    ],
)
def test_how_a_run_ends(tmp_path, error, status, reason):
    budget = int(octl.StopReason.BUDGET)
    history = octl.history.History(tmp_path)
    with suppress(BaseException), history:
        history.write(row(3, stop=lambda s: budget))
        if error:
            raise error
    assert (run_of(history).status, run_of(history).reason) == (status, reason)
    assert run_of(history).ended


def test_commands_reach_the_loop(tmp_path):
    with octl.history.History(tmp_path) as history:
        history.flush()
        number = run_of(history).ask(lr_scale=0.5)
        history.flush()
        (command,) = history.commands()
        assert (command["id"], command["what"]) == (number, {"lr_scale": 0.5})
        assert history.commands() == []
        history.acknowledge(number, 7, "done")
    assert run_of(history).commands()[0]["acknowledged_step"] == 7


def test_lanes_are_refused(tmp_path):
    with (
        pytest.warns(UserWarning, match="Under `vmap` every lane needs"),
        octl.history.History(tmp_path) as history,
    ):
        history.write(row([1, 1]))


def test_other_processes_record_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with octl.history.History(tmp_path / "none") as history:
        history.write(row(1))
        history.evaluated(1, val_loss=1.0)
        assert history.flush()
    assert not (tmp_path / "none").exists()


def test_words_are_checked(tmp_path):
    with octl.history.History(tmp_path) as history:
        with pytest.raises(
            ValueError, match=r"event\(severity=...\)` must be 'info' or"
        ):
            history.event(1, "x", severity="bad")  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="Did you mean `finished`"):
            history.ended("finish")  # pyright: ignore[reportArgumentType]
    with sqlite3.connect(tmp_path / _database.FILE) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
