"""What is recorded can be found again, and reading changes nothing."""

import math
import os
import platform
import sqlite3
import struct
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from optaxctl.host import _database, _schema
from optaxctl.host._database import Batch
from optaxctl.host._json import dumped, loaded
from optaxctl.host._recorded import identity
from optaxctl.host.runs import Project, UnknownRun

COLUMNS = [["loss", "f"], ["alarms", "i"]]


@pytest.fixture
def written(tmp_path):
    """Returns a function that writes a batch of a run into the project."""
    db = _database.connect(tmp_path / _database.FILE)

    def write(key, *, steps=(), **fields):
        rows = [(s, 0.0, struct.pack("<fi", loss, bits)) for s, loss, bits in steps]
        names = ("back", "events", "evaluations", "answers")
        given = {n: fields.pop(n, None if n == "back" else []) for n in names}
        told = {"key": key, "columns": COLUMNS, **fields}
        _database.write(db, [Batch(told, steps=rows, **given)])

    yield write
    db.close()


def event(step, severity, **fields):
    what = {"time": 1.0, "actor": "rate", "kind": "lr_scale", "reason": "", "old": 1.0}
    known = {**what, "step": step, "severity": severity, "new": 0.5, "outcome": ""}
    return {**known, "evidence": {"to_beat": math.inf}, **fields}


def test_everything_comes_back(tmp_path, written):
    written(
        "digits-0a3f",
        name="<script>",
        started=5.0,
        config={"lr": 0.1, "bound": math.inf, "f": len},
        steps=[(1, 0.5, 3), (2, math.nan, -1), (5, math.inf, 0)],
        events=[event(1, "info"), event(2, "critical")],
        evaluations=[(2, 0.0, "val_loss", 0.25), (5, 0.0, "val_loss", math.nan)],
        summary={"best": {"val_loss": [0.25, 2]}},
    )
    run = Project(tmp_path).run("@latest")
    assert (run.key, run.name, run.status) == ("digits-0a3f", "<script>", "running")
    assert run.config == {"lr": 0.1, "bound": math.inf, "f": repr(len)}
    assert run.summary == {"best": {"val_loss": [0.25, 2]}}
    assert run.names() == ["loss", "alarms", "val_loss"]
    steps, losses = run.series("loss")
    assert steps == [1, 2, 5]
    assert losses[::2] == [0.5, math.inf]
    assert math.isnan(losses[1])
    assert run.series("alarms", first=2) == ([2, 5], [-1, 0])
    assert run.series("val_loss", last=2) == ([2], [0.25])
    assert math.isnan(run.evaluations()["val_loss"][1][1])
    first, second = run.events()
    assert (first.step, first.old, first.evidence) == (1, 1.0, {"to_beat": math.inf})
    assert run.events("warning") == run.events(after=first.id) == [second]
    with pytest.raises(LookupError, match=r"no series `los`\. Did you mean `loss`"):
        run.series("los")
    with pytest.raises(ValueError, match=r"severity=...\)` must be 'info' or"):
        run.events("bad")  # pyright: ignore[reportArgumentType]


def test_json_keeps_what_it_can():
    told = {"a": math.inf, "b": [-math.inf, "NaN", "\\-Infinity", "\\x"], "c": (1,)}
    assert loaded(dumped(told)) == {**told, "c": [1]}
    scalars = {"a": np.float32(0.5), "b": np.int64(3), "c": jnp.float32(jnp.inf)}
    assert loaded(dumped(scalars)) == {"a": 0.5, "b": 3, "c": math.inf}


def test_a_batch_written_twice_is_written_once(tmp_path, written):
    for _ in range(2):
        written("a", steps=[(1, 0.5, 0)], events=[event(1, "info")])
    run = Project(tmp_path).run("a")
    assert run.series("loss") == ([1], [0.5])
    assert len(run.events()) == 1


def test_going_back_deletes_what_was_later(tmp_path, written):
    written("b", steps=[(7, 0.5, 0)])
    evaluated = [(s, 0.0, "val_loss", 1.0) for s in (1, 2)]
    rows = [(s, float(s), 0) for s in (1, 2, 3)]
    events = [event(s, "info") for s in (1, 2)]
    written("a", steps=rows, events=events, evaluations=evaluated)
    written("a", back=1, steps=[(2, 9.0, 0)])
    run = Project(tmp_path).run("a")
    assert run.series("loss") == ([1, 2], [1.0, 9.0])
    assert run.series("val_loss")[0] == [e.step for e in run.events()] == [1]
    assert Project(tmp_path).run("b").series("loss")[0] == [7]


def test_columns_may_be_added(tmp_path, written):
    written("a", steps=[(1, 0.5, 0)])
    written("a", columns=[*COLUMNS, ["new", "f"]])
    run = Project(tmp_path).run("a")
    assert run.series("new") == ([], [])
    assert run.series("loss") == ([1], [0.5])


def test_a_run_is_found_by_the_beginning_of_its_key(tmp_path, written):
    for i, key in enumerate(("ab-1", "ab-2", "ab", "c-1")):
        written(key, started=float(i), status="finished")
    project = Project(tmp_path)
    assert [run.key for run in project.runs()] == ["c-1", "ab", "ab-2", "ab-1"]
    assert [project.run(k).key for k in ("@latest", "c", "ab", "ab-1")] == [
        *("c-1", "c-1", "ab", "ab-1"),
    ]
    with pytest.raises(UnknownRun, match=r"2 runs begin with 'ab-': ab-2, ab-1\."):
        project.run("ab-")
    with pytest.raises(
        UnknownRun, match=r"Did you mean `ab-1`.*newest first: c-1, ab,"
    ):
        project.run("xb-1")
    assert project.runs("lost") == []
    with pytest.raises(ValueError, match=r"got 'losst'\. Did you mean `lost`"):
        project.runs("losst")  # pyright: ignore[reportArgumentType]


def test_a_run_whose_process_is_gone_is_lost(tmp_path, written):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = platform.node()
    for key, pid, host in [
        ("mine", os.getpid(), here),
        ("gone", ended.pid, here),
        ("far", ended.pid, f"not-{here}"),
    ]:
        written(key, environment={"pid": pid, "host": host})
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    me = {"pid": os.getpid(), "host": here}
    written("zombie", environment={**me, "pid": zombie.pid})
    written("this", environment=identity())
    written("its number", environment=me | {"began": identity()["began"] - 1})
    status = {run.key: run.status for run in Project(tmp_path).runs()}
    zombie.wait()
    alive = {key for key, word in status.items() if word == "running"}
    assert alive == {"mine", "far", "this"}
    assert set(status.values()) == {"running", "lost"}


def test_old_runs_are_deleted_and_live_ones_are_not(tmp_path, written):
    for i in range(5):
        status = "running" if i == 0 else "finished"
        rows = [(s, 0.0, 0) for s in range(2000)]
        written(f"r{i}", started=float(i), status=status, steps=rows)
    project = Project(tmp_path)
    size = lambda: sum(f.stat().st_size for f in tmp_path.iterdir())
    before = size()
    assert project.keep(2) == ["r2", "r1"]
    assert [run.key for run in project.runs()] == ["r4", "r3", "r0"]
    assert size() < 0.7 * before
    with pytest.raises(ValueError, match="r0 is still running"):
        project.delete("r0")
    project.delete("r3", "r4")
    assert len(project.run().series("loss")[0]) == 2000


def test_a_command_is_left_and_taken_up(tmp_path, written):
    written("a")
    run = Project(tmp_path).run("a")
    number = run.ask(lr_scale=0.5)
    assert [c["what"] for c in run.commands()] == [{"lr_scale": 0.5}]
    late = run.ask(stop=True)
    told = lambda: [(c["acknowledged_step"], c["outcome"]) for c in run.commands()]
    at = run.commands()[1]["time"]
    written("a", answers=[(number, at, 7, "done"), (None, at - 1e-3, 8, "too late")])
    written("b", answers=[(late, at, 9, "by another run")])
    assert told() == [(7, "done"), (None, None)]
    written("a", answers=[(None, at, 8, "too late"), (number, at, 9, "done again")])
    assert told() == [(7, "done"), (8, "too late")]


def test_reading_creates_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no {tmp_path}/optaxctl.db"):
        Project(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / _database.FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        Project(tmp_path).runs()
    assert [file.name for file in tmp_path.iterdir()] == [_database.FILE]


def test_the_database_of_another_program_is_left_alone(tmp_path):
    file = tmp_path / _database.FILE
    file.touch()
    assert Project(tmp_path).runs() == []
    with pytest.raises(UnknownRun, match="'@latest': nothing has been recorded in"):
        Project(tmp_path).run()
    assert file.stat().st_size == 0
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE theirs(x)")
    db.close()
    before = file.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="database of another program"):
        Project(tmp_path).runs()
    with pytest.raises(sqlite3.DatabaseError, match="database of another program"):
        _database.connect(file)
    assert file.read_bytes() == before


def test_files_of_other_versions(tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(_schema, "MIGRATIONS", _schema.MIGRATIONS[:1])
        earlier.setattr(_schema, "VERSION", 1)
        db = _database.connect(tmp_path / _database.FILE)
        db.execute("INSERT INTO runs(key, name, status) VALUES('a', 'b', 'finished')")
        db.execute("INSERT INTO evaluations VALUES(1, 3, 0.0, 'val_loss', 0.5)")
        db.close()
    header = lambda: (tmp_path / _database.FILE).read_bytes()[60:64]
    for now in (1, 2):
        run = Project(tmp_path).run("a")
        assert (run.name, run.series("val_loss")) == ("b", ([3], [0.5]))
        assert header() == bytes((0, 0, 0, now))  # its version: reading writes nothing
        run.ask(stop=True)
    with monkeypatch.context() as later:
        later.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, ()))
        later.setattr(_schema, "VERSION", 3)
        run.ask(stop=True)
    with pytest.raises(ValueError, match="version 3, and this release knows up to 2"):
        Project(tmp_path).runs()


def test_a_deleted_run_is_not_mistaken_for_the_next(tmp_path, written):
    written("a", status="finished", evaluations=[(1, 0.0, "val_loss", 0.5)])
    run = Project(tmp_path).run("a")
    run.ask(stop=True)
    Project(tmp_path).delete("a")
    written("b", evaluations=[(1, 0.0, "val_loss", 0.25)])
    assert run.evaluations() == {}
    with sqlite3.connect(tmp_path / _database.FILE) as db:
        assert db.execute("SELECT * FROM commands").fetchall() == []
    db.close()


def test_of_an_earlier_generation_only_what_was_not_gone_back_on_is_taken(
    tmp_path, written
):
    row = lambda step, value=1.0: (step, value, 0)
    val = lambda step, value: (step, 0.0, "val_loss", value)
    written("a", generation=1, step=3, steps=[row(1), row(3)])
    written("a", generation=2, steps=[row(9)])  # has not gone back yet
    written("a", generation=1, back=2, step=2, steps=[row(4, 4.0)], status="failed")
    written("a", generation=2, back=3, step=5, steps=[row(4, 2.0), row(5)])
    written("a", generation=2, back=4, step=5, steps=[row(5)])
    late = {"steps": [row(s, 9.0) for s in (2, 3, 4, 5, 6)], "events": []}
    late |= {"evaluations": [val(3, 0.5), val(4, 0.5)], "events": [event(6, "info")]}
    written("a", generation=1, step=6, columns=[*COLUMNS, ["new", "f"]], **late)
    run = Project(tmp_path).run("a")
    assert (run.step, run.status) == (5, "running")
    assert run.series("loss") == ([1, 2, 3, 4, 5], [1.0, 9.0, 1.0, 2.0, 1.0])
    assert (run.evaluations(), run.events()) == ({"val_loss": ([3], [0.5])}, [])
    assert run.columns[-1] == ("new", "f")


def test_reading_needs_neither_jax_nor_numpy(tmp_path, written):
    written("a", steps=[(1, 0.5, 0)])
    code = (
        "import sys, optaxctl as octl\n"
        "run = octl.runs.Project(sys.argv[1]).run()\n"
        "run.events(), run.series('loss')\n"
        "sys.exit(bool({'jax', 'numpy'} & sys.modules.keys()))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
