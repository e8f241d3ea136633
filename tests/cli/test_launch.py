"""The user's functions, called from the command line, and what goes wrong in them."""

import os
import re
import sys
from pathlib import Path

import pytest

import optaxctl as octl
from tests.cli._calls import call, strict
from tests.report._project import write

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "command-line.md"
WRONG = """
import sys
def two(config, resume): ...
def raises(config): raise ValueError("boom")
def stops(config): raise KeyboardInterrupt
def builds(config): config.build(lambda learning_rate, beta: None)
def three(config): sys.exit(3)
def words(config): sys.exit("No data here.")
def done(config): sys.exit(0)
def nothing(): return {"loss": 1}
def low(): return {"loss_fn": sum, "params": 1.0, "batches": [0], "start_lr": 0}
number = 1
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty directory to work in, whose modules are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("train", "wrong"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    Path("wrong.py").write_text(WRONG)
    return tmp_path


def test_the_program_of_the_guide_runs_and_goes_on(
    place, tmp_path_factory, monkeypatch
):
    other = tmp_path_factory.mktemp("other")
    page = GUIDE.read_text(encoding="utf-8")
    parts = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    Path("train.py").write_text("\n\n".join(parts))
    call("init")
    before = sorted(os.listdir())
    run = ("run", "train:train", "-c", "run.yaml", "--set", "learning_rate=0.09")
    code, out, err = call(*run, "--dry-run", "--set", "schedule=constant")
    assert (code, err) == (0, "")
    assert "together(guard=guard(), lr=lr.adaptive(" in out
    assert "0.09 at step 0, by the schedule" in out
    assert sorted(set(os.listdir()) - {"__pycache__"}) == before

    code, out, err = call(*run, "--set", "training.max_epochs=1", "--resume")
    assert code == 0
    assert re.fullmatch(r"epoch 1/1, step 50, .*\n", out)
    first, last = err.splitlines()
    assert first == "checkpoints holds no checkpoint: the run starts at its beginning."
    key = last.partition(":")[0]
    assert f"{key}: finished after 50 steps." in last
    assert last.endswith(f"`optaxctl show {key}` tells more.")

    code, out, err = call(*run)
    assert (code, out) == (1, "")
    assert "checkpoints holds a checkpoint of step 50. --resume goes on" in err
    code, found = strict(*run, "--set", "training.max_epochs=2", "--resume")
    assert (code, found["run"], found["status"]) == (0, key, "finished")
    assert found["summary"]["steps"] == 100
    recorded = octl.runs.Project("runs").runs()
    assert [one.key for one in recorded] == [key]
    assert recorded[0].series("loss")[0] == list(range(1, 101))
    assert strict(*run, "--resume", "--dry-run")[1]["checkpoint"] == 100

    # Another directory, that records into the same project, goes on with its own run,
    # and what another process records there is not told as ours.
    monkeypatch.chdir(other)
    write(place / "runs", {}, key="theirs", started=4e9, updated=4e9)
    run = (
        *run[:3],
        str(place / "run.yaml"),
        "--set",
        f"recording.directory={place}/runs",
    )
    code, found = strict(*run, "--set", "training.max_epochs=1")
    assert (code, found["summary"]["steps"]) == (0, 50)
    monkeypatch.chdir(place)
    code, found = strict(*run, "--set", "training.max_epochs=3", "--resume")
    assert (code, found["run"], found["summary"]["steps"]) == (0, key, 150)

    code, found = strict("lr-find", "train:find", "--save", "found.svg")
    assert (code, found["clear"], found["picture"]) == (0, True, "found.svg")
    assert found["floor"] <= found["suggestion"] <= found["ceil"]
    assert Path("found.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["none:f"], 2, "There is no module `none`"),
        (["wrong"], 2, "'wrong' is not of the form `module:function`."),
        (["wrong:tw"], 2, "`wrong` has no `tw`. Did you mean `two`?"),
        (["wrong:number"], 2, "`wrong:number` is no function."),
        (["wrong:two"], 2, "must take one argument, the configuration: missing a"),
        (["..wrong:two"], 2, "'..wrong:two' is not of the form `module:function`."),
        (["wrong:three"], 1, "It exited with status 3.\n"),
        (["wrong:words"], 1, "No data here.\n"),
        (["wrong:done"], 0, ""),
        (["wrong:raises", "--set", "x"], 2, "'x' is not of the form `key=value`."),
        (["wrong:raises", "--set", "lr.x=1"], 1, "--set lr.x: "),
        (["wrong:raises", "--resume"], 2, "There is no `checkpointing`"),
        (["wrong:builds"], 1, "run.yaml: optimizer: `<lambda>` needs `beta`.\n"),
        (["wrong:stops"], 130, "Interrupted.\n"),
    ],
)
def test_what_cannot_be_run_is_said_without_a_traceback(arguments, status, message):
    Path("run.yaml").write_text("learning_rate: 0.1\nlr: plateau\n")
    code, out, err = call("run", *arguments, "-c", "run.yaml")
    assert (code, out) == (status, "")
    assert message in " ".join(err.split(" "))
    assert "Traceback" not in err


def test_what_a_function_raises_is_shown_from_its_own_lines():
    Path("run.yaml").write_text("learning_rate: 0.1\n")
    code, _, err = call("run", "wrong:raises", "-c", "run.yaml")
    assert code == 1
    lines = err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "wrong.py" in lines[1]
    assert lines[-1] == "ValueError: boom"
    Path("wrong.py").write_text("import none_such")
    del sys.modules["wrong"]
    code, _, err = call("run", "wrong:raises", "-c", "run.yaml")
    assert (code, "wrong.py" in err.splitlines()[1]) == (1, True)
    Path("wrong.py").write_text("def cut(")
    code, _, err = call("run", "wrong:raises", "-c", "run.yaml")
    assert (code, "wrong.py" in err.splitlines()[0]) == (1, True)


def test_a_database_that_cannot_be_read_spoils_no_run():
    Path("runs").mkdir()
    Path("runs/optaxctl.db").write_text("no database" * 100)
    Path("run.yaml").write_text("learning_rate: 0.1\nrecording: true\n")
    assert call("run", "wrong:done", "-c", "run.yaml") == (0, "", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "does not return the arguments"),
        ("low", "`lr_find(start_lr=...)` must be > 0, got 0."),
        ("number.real", "is no function"),
        ("raises", "must take no arguments: missing a required argument: 'config'."),
    ],
)
def test_what_lr_find_cannot_take_is_said(name, message):
    code, out, err = call("lr-find", f"wrong:{name}")
    assert (code, out) == (2, "")
    assert message in err
