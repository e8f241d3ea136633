"""Every step is recorded once, whatever happens to the file; the training goes on."""

import os
import subprocess
import sys
import tempfile

import pytest

import optaxctl as octl
from optaxctl.host import _database, _schema, _spill, _store
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

    monkeypatch.setattr(_spill, "append", full)
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


def test_a_file_that_was_moved_is_told(tmp_path):
    directory = tmp_path / "runs"
    history = octl.history.History(directory, config={"x": 1})
    history.write(row(range(1, 6)))
    history.flush()
    directory.rename(tmp_path / "elsewhere")
    with (
        pytest.warns(UserWarning, match="was moved or deleted; what was recorded bef"),
        history,
    ):
        history.write(row(range(6, 11)))
    assert losses(history)[0] == [6, 7, 8, 9, 10]
    assert run_of(history).config == {"x": 1}


def test_a_file_that_was_cut_is_not_written_any_more(tmp_path):
    history = octl.history.History(tmp_path)
    history.write(row(1))
    history.flush()
    with octl.history.History(tmp_path) as other:
        other.write(row(range(1, 2001)))
    db = _database.connect(file := tmp_path / _database.FILE)
    _database.vacuum(db)
    db.close()
    history.write(row(2))
    history.flush()
    os.truncate(file, file.stat().st_size // 2)  # where only the other run has rows
    with pytest.warns(UserWarning, match="malformed"), history:
        history.write(row(3))
    assert list(tmp_path.glob("*.spill.jsonl"))


def test_what_was_spilled_elsewhere_is_found_by_its_project_only(
    tmp_path, locked, monkeypatch
):
    (elsewhere := tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    append = _spill.append

    def full(path, batches):
        if path.parent == tmp_path:
            raise OSError("No space left on device")
        append(path, batches)

    monkeypatch.setattr(_spill, "append", full)
    history = octl.history.History(tmp_path)
    with pytest.warns(UserWarning, match="locked"):
        history.flush()
    history.write(row(range(1, 6)))
    assert history.flush()
    (spilt,) = _spill.spilled(tmp_path)
    assert spilt.parent == elsewhere
    assert _spill.spilled(tmp_path / "another") == []
    locked.execute("ROLLBACK")
    with octl.history.History(tmp_path, resume=history.key):
        assert not spilt.exists()
    assert losses(history)[0] == [1, 2, 3, 4, 5]
    history.ended("finished")
