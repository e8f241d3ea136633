"""Every step is recorded once, whatever happens to the file; the training goes on."""

import subprocess
import sys

import pytest

import optaxctl as octl
from optaxctl.host import _database, _schema, _store
from optaxctl.host.runs import Project
from tests.host._rows import row

BAD = int(octl.Alarm.NONFINITE_LOSS)


def run_of(history):
    return Project(history.directory).run(history.key)


def losses(history):
    return run_of(history).series("loss")


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """Locks the database of `tmp_path`, which other connections then cannot write."""
    monkeypatch.setattr(_schema, "BUSY", 0.01)
    db = _database.connect(tmp_path / _database.FILE)
    db.execute("BEGIN IMMEDIATE")
    yield db
    db.close()


def test_a_locked_database_is_made_up_for(tmp_path, locked):
    # Further warnings would be errors.
    history = octl.history.History(tmp_path, name="a")
    with pytest.warns(UserWarning, match=r"locked\).*training goes on"):
        history.flush()
    with history:
        history.write(row(range(1, 11)))
        assert history.flush()  # to the spill file
        spill = tmp_path / f"{history.key}.spill.jsonl"
        assert spill.exists()
        locked.execute("ROLLBACK")
        history.write(row(range(11, 21)))
    assert losses(history)[0] == list(range(1, 21))
    assert not spill.exists()


def test_what_a_dead_process_spilled_is_merged_by_the_next(tmp_path, locked):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    history = octl.history.History(tmp_path, name="a", config={"x": 1})
    with pytest.warns(UserWarning, match="locked"):
        history.flush()
    assert history._worker
    history._worker.recorder.store.run["environment"]["pid"] = ended.pid
    history.write(row(range(1, 11), alarms=lambda s: BAD * (s == 5)))
    history.ended("finished")
    spill = tmp_path / f"{history.key}.spill.jsonl"
    with spill.open("a") as file:
        file.write('{"run": {"key": "cut o')
    locked.execute("ROLLBACK")
    octl.history.History(tmp_path, name="b").ended("finished")
    assert not spill.exists()
    run = run_of(history)
    assert (run.config, run.status, len(run.events())) == ({"x": 1}, "finished", 1)
    assert losses(history)[0] == list(range(1, 11))


def test_a_damaged_database_is_left_alone(tmp_path):
    garbage = b"no database" * 1000
    (tmp_path / _database.FILE).write_bytes(garbage)
    with (
        pytest.warns(UserWarning, match="not a database"),
        octl.history.History(tmp_path) as history,
    ):
        history.write(row(range(1, 11)))
    assert (tmp_path / _database.FILE).read_bytes() == garbage
    (tmp_path / _database.FILE).unlink()
    octl.history.History(tmp_path, resume=history.key).ended("finished")
    assert losses(history)[0] == list(range(1, 11))


def test_where_nothing_can_be_written_memory_holds_it(tmp_path, locked, monkeypatch):
    def full(path, batches):
        raise OSError("No space left on device")

    monkeypatch.setattr(_store, "_append", full)
    monkeypatch.setattr(_store, "MOST", 15)
    history = octl.history.History(tmp_path)
    with pytest.warns(UserWarning, match="locked"):
        history.flush()
    for first in (1, 11, 21):
        history.write(row(range(first, first + 10)))
        assert not history.flush()
    locked.execute("ROLLBACK")
    with pytest.warns(UserWarning, match="20 steps of the history are lost"):
        history.ended("finished")
    assert losses(history)[0] == list(range(21, 31))
