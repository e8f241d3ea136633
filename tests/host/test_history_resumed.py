"""A run that goes on stays what it was, whoever else has recorded it."""

import os
import platform
import sqlite3

import pytest

import optaxctl as octl
from optaxctl.host import _database, _opening, _recorder, _schema, _spill
from optaxctl.host._database import Batch
from optaxctl.host.runs import Project, UnknownRun
from tests.host._rows import row


def run_of(history):
    return Project(history.directory).run(history.key)


def losses(history):
    return run_of(history).series("loss")


def recorded(directory, last=10):
    with octl.history.History(directory, name="a", config={"x": 1}) as history:
        history.write(row(range(1, last + 1)))
        history.evaluated(1, val_loss=1.0)
    return history


def test_a_file_that_makes_no_sense_is_set_aside_and_harms_nothing(tmp_path):
    before = run_of(first := recorded(tmp_path))
    spill = tmp_path / "zz.spill.jsonl"
    spill.write_bytes(b'\xff\xfe\n{"run": {}}\n{"run": {"key": "cut o')
    octl.history.History(tmp_path).ended("finished")
    assert spill.exists()  # somebody may be writing it
    os.utime(spill, (0, 0))
    with (
        pytest.warns(
            UserWarning, match=r"^2 lines of .*zz\.spill.* not be merged: see"
        ),
        octl.history.History(tmp_path, resume=first.key) as second,
    ):
        second.evaluated(3, val_loss=0.5)
    assert not spill.exists()
    assert len((tmp_path / "zz.bad.jsonl").read_text().splitlines()) == 2
    run = run_of(second)
    assert (run.config, run.started, run.columns) == (
        *(before.config, before.started, before.columns),
    )
    assert run.summary["best"] == {"loss": [1.0, 1], "val_loss": [0.5, 3]}
    with pytest.raises(UnknownRun):
        octl.history.History(tmp_path, resume="nope")


def test_a_file_that_cannot_be_merged_yet_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(_schema, "BUSY", 0.01)
    before = run_of(first := recorded(tmp_path))
    gone = {"pid": 2**40, "host": platform.node()}
    batch = Batch({"key": "b", "environment": gone}, None, [], [], [])
    _spill.append(tmp_path / "b.spill.jsonl", [batch])
    db = sqlite3.connect(tmp_path / _database.FILE, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with (
        pytest.warns(UserWarning, match="b.spill.jsonl could not be merged yet"),
        pytest.warns(UserWarning, match="cannot be written"),
    ):
        (second := octl.history.History(tmp_path, resume=first.key)).flush()
    db.execute("ROLLBACK")
    db.close()
    second.ended("finished")
    octl.history.History(tmp_path).ended("finished")
    run = run_of(second)
    assert (run.config, run.started, run.summary) == (
        *(before.config, before.started, before.summary),
    )
    assert Project(tmp_path).run("b").status == "lost"


def test_a_run_is_taken_at_its_word_where_nobody_can_look(tmp_path, monkeypatch):
    with octl.history.History(tmp_path, config={"x": 1}) as first:
        more = {"gauge/a": lambda s: 0.5}
        first.write(row(range(1, 6), more={"gauge/a": "f"}, **more))
    before = run_of(first)
    with monkeypatch.context() as unreadable:
        unreadable.setattr(_opening, "_known", lambda directory: None)
        for key in ("@latest", "run", "../../etc"):
            with pytest.raises(UnknownRun, match="cannot be read, so only the whole"):
                octl.history.History(tmp_path, resume=key)
        second = octl.history.History(tmp_path, resume=first.key, config={"x": 2})
    with second:
        more = {"gauge/b": lambda s: 0.25}
        second.write(row(range(4, 9), more={"gauge/b": "f"}, **more))
    run = run_of(second)
    assert (run.config, run.started) == ({"x": 1}, before.started)
    assert [name for name, _ in run.columns][-2:] == ["gauge/a", "gauge/b"]
    steps, values = run.series("gauge/a")
    assert (steps, values[:3]) == (list(range(1, 9)), [0.5, 0.5, 0.5])
    assert values[3] != values[3]
    assert run.series("gauge/b") == ([4, 5, 6, 7, 8], [0.25] * 5)
    assert (run.summary["steps"], run.status) == (8, "finished")


def test_what_an_earlier_process_says_late_changes_nothing(tmp_path):
    first = octl.history.History(tmp_path)
    first.write(row(range(1, 11)))
    first.flush()
    with octl.history.History(tmp_path, resume=first.key) as second:
        second.write(row(range(6, 21), loss=lambda s: 2.0))
        second.ended("stopped", "Enough.")
    first.write(row(range(11, 31)))
    first.evaluated(7, val_loss=1.0)
    first.ended("failed")
    run = run_of(second)
    assert (run.step, run.status, run.reason) == (20, "stopped", "Enough.")
    assert run.series("loss") == (list(range(1, 21)), [1.0] * 5 + [2.0] * 15)
    assert run.evaluations() == {}


def test_a_run_that_another_process_records_is_told(tmp_path):
    first = recorded(tmp_path)
    db = sqlite3.connect(tmp_path / _database.FILE)
    alive = f'{{"pid": {os.getppid()}, "host": "{platform.node()}"}}'
    with db:
        db.execute("UPDATE runs SET status = 'running', environment = ?", (alive,))
    db.close()
    with (
        pytest.warns(UserWarning, match=rf"^Process {os.getppid()} still records a-"),
        octl.history.History(tmp_path, resume=first.key) as second,
    ):
        second.write(row(11))
    assert run_of(second).environment["pid"] == os.getpid()
    with (
        pytest.warns(UserWarning, match="Step 1 is recorded in a run .* to step 11,"),
        octl.history.History(tmp_path, resume=first.key) as third,
    ):
        third.write(row(range(1, 4)))
    assert losses(third)[0] == [1, 2, 3]


def test_commands_to_a_run_that_had_ended_are_not_obeyed(tmp_path):
    first = recorded(tmp_path)
    run_of(first).ask(stop=True)
    with octl.history.History(tmp_path, resume=first.key) as second:
        assert second.commands() == []
        number = run_of(second).ask(lr_scale=0.5)
        second.flush()
        assert [command["id"] for command in second.commands()] == [number]
    told = [(c["acknowledged_step"], c["outcome"]) for c in run_of(second).commands()]
    assert told == [(10, "Not taken up: the run had ended.")] * 2


def test_an_answer_outlasts_a_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(_schema, "BUSY", 0.01)
    with octl.history.History(tmp_path) as history:
        history.flush()
        number = run_of(history).ask(lr_scale=0.5)
        history.flush()
        assert history.commands()
        db = sqlite3.connect(tmp_path / _database.FILE, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        history.acknowledge(number, 7, "done")
        with pytest.warns(UserWarning, match="locked"):
            assert history.flush()
        db.execute("ROLLBACK")
        db.close()
        history.flush()
        (command,) = run_of(history).commands()
        assert (command["acknowledged_step"], command["outcome"]) == (7, "done")


def test_going_back_keeps_what_was_best_by_then(tmp_path):
    with octl.history.History(tmp_path) as first:
        first.write(row(range(1, 11), loss=lambda s: max(5 - s, 2)))
        first.evaluated(6, val_loss=1.0)
        first.evaluated(7, val_loss=1.0)
    assert run_of(first).summary["best"] == {"loss": [2.0, 3], "val_loss": [1.0, 6]}
    with octl.history.History(tmp_path, resume=first.key) as second:
        second.write(row(7, loss=lambda s: 2))
    assert run_of(second).summary["best"] == {"loss": [2.0, 3], "val_loss": [1.0, 6]}


def test_an_idle_run_does_not_look_alive(tmp_path):
    with octl.history.History(tmp_path) as history:
        history.evaluated(1, val_loss=1.0)
        history.flush()
        before = run_of(history).updated
        history.flush()
        assert run_of(history).updated == before
        history.epoch(1, 2.0)
        history.flush()
        assert run_of(history).updated > before


def test_what_no_file_can_hold_is_told_and_the_rest_is_kept(tmp_path, monkeypatch):
    config: dict = {"texts": ["caf\udce9"]}
    config["itself"] = config
    history = octl.history.History(tmp_path, name="caf\udce9", config=config)
    history.evaluated(2**63, val_loss=1.0)
    with pytest.warns(UserWarning, match="OverflowError"):
        assert history.flush()
    history.event(1, "note", reason="\udcff")
    history.evaluated(3, **{"val_loss": 1.0, "\udcff": 2.0})
    assert history.flush()
    monkeypatch.setattr(_recorder, "HIGHEST", 2**70)
    history.evaluated(2**64, val_loss=1.0)
    with pytest.warns(UserWarning, match=r"cannot be recorded.*bad\.jsonl"):
        assert history.flush()
    history.ended("finished")
    run = run_of(history)
    once = {"texts": ["caf?"], "itself": "..."}
    assert (run.name, run.config) == ("caf?", {"texts": ["caf?"], "itself": once})
    assert [event.reason for event in run.events()] == ["?"]
    assert run.evaluations() == {"val_loss": ([3], [1.0]), "?": ([3], [2.0])}
    assert (tmp_path / f"{run.key}.bad.jsonl").read_text().count("\n") == 1
    assert not list(tmp_path.glob("*.spill.jsonl"))
