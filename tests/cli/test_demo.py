"""The main job, in real processes: it learns, survives a kill, and says what it did."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from optaxctl.cli import _digits
from optaxctl.cli._demo import DemoError, run
from optaxctl.host import checkpoint
from optaxctl.host.runs import Project
from tests.cli._calls import call

pytestmark = pytest.mark.newest  # with the oldest jax, CI runs the demo by itself

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-c", "from optaxctl.cli import main; main()", "demo")


def environment():
    # The tests' eight devices would be eight to the demo too.
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    path = os.pathsep.join([str(ROOT), *kept.get("PYTHONPATH", "").split(os.pathsep)])
    return {**kept, "PYTHONPATH": path.rstrip(os.pathsep), "NO_COLOR": "1"}


def demo(directory, *options):
    return subprocess.run(
        [*DEMO, "--directory", directory, *options],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "whole"
    done = demo(directory, "-o", "json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary.pop("version") == 1
    return directory, summary, done.stderr


def arrays(directory):
    """Every array of the newest checkpoint, by path, as it lies on the disk."""
    with ocp.CheckpointManager(
        directory / "demo" / "checkpoints",
        item_handlers={"state": ocp.StandardCheckpointHandler()},
    ) as manager:
        step = manager.latest_step()
        found = manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore())
        )
    flat, _ = jax.tree_util.tree_flatten_with_path(found["state"])
    return step, {
        jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in flat
    }


def test_it_learns_to_read_digits_and_says_how_it_went(whole):
    _, summary, _ = whole
    assert summary["test_accuracy"] >= 97
    assert summary["refused_steps"] == 1
    assert 0 < summary["clip_rate"] < 10
    assert summary["lr_range"] == pytest.approx([0, 3e-3])
    assert summary["steps"] == 18 * summary["epochs"] + 1
    best, epoch = summary["best"]["val_loss"], summary["best"]["epoch"]
    assert epoch == summary["epochs"] - 10
    assert summary["stop_reason"] == (
        f"val_loss has not beaten {best:.4g} for 10 checks; "
        f"stopping at step {summary['steps']:,}."
    )


def test_messages_go_to_stderr_and_name_the_corrupted_batch(whole):
    _, summary, messages = whole
    told = messages.splitlines()
    assert told[0] == (
        "The batch of step 42 is corrupted, on purpose; the guard refused it, and the "
        "run goes on."
    )
    assert told[1].startswith("epoch 10/60, step 181, val_loss 0.")
    assert told[-2] == summary["stop_reason"]
    assert re.match(
        r"Recorded as demo-\w{4}; `optaxctl report --directory .*` draws it\.", told[-1]
    )


def test_a_killed_and_resumed_run_ends_as_an_uninterrupted_one(whole, tmp_path):
    with subprocess.Popen(
        [*DEMO, "--directory", tmp_path],
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 20/60"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL

    resumed = demo(tmp_path, "--resume", "-o", "json")
    where = re.match(r"Resuming the run in .* from step (\d+)\.", resumed.stderr)
    assert where
    assert 18 * 5 <= int(where[1]) <= 18 * 30
    assert json.loads(resumed.stdout) == {"version": 1, **whole[1]}
    (step, theirs), (last, ours) = arrays(tmp_path), arrays(whole[0])
    assert step == last == whole[1]["steps"]
    assert theirs == ours
    (run,), (uncut,) = (Project(place).runs() for place in (tmp_path, whole[0]))
    assert (run.status, run.step, run.reason) == ("stopped", step, uncut.reason)
    for name in uncut.names():
        np.testing.assert_array_equal(run.series(name), uncut.series(name), name)
    assert [e.step for e in run.events() if e.kind == "refused"] == [42]


def test_the_example_is_the_same_program(whole, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "digits_nnx.py"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *_, last, reason, accuracy = done.stdout.splitlines()
    _, summary, _ = whole
    assert last.startswith(f"epoch {summary['epochs']}/60, step {summary['steps']},")
    assert reason == summary["stop_reason"]
    assert accuracy == f"test accuracy {summary['test_accuracy']:.1f} %"


def test_a_finished_run_resumes_to_the_same_summary_as_a_table(whole):
    directory, summary, _ = whole
    done = demo(directory, "--resume")
    rows = {line[:15].strip(): line[15:] for line in done.stdout.splitlines()}
    assert rows["stop reason"] == summary["stop_reason"]
    assert rows["refused steps"] == "1"
    assert rows["test accuracy"] == f"{summary['test_accuracy']:.1f} %"
    assert rows["best val_loss"].endswith(f"in epoch {summary['best']['epoch']}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "holds no demo run to resume. Start one without --resume."),
        ([], "is not empty and holds no demo run. Give another --directory."),
    ],
)
def test_a_directory_of_something_else_is_left_alone(tmp_path, options, message):
    place = tmp_path / "demo"
    place.mkdir()
    (place / "thesis.tex").write_text("precious")
    done = demo(tmp_path, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{place} {message}\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["demo", "thesis.tex"]


def test_an_interrupted_demo_says_how_to_go_on_once_it_can(tmp_path, monkeypatch):
    def interrupt(*arguments, **more):
        raise KeyboardInterrupt

    command = ("demo", "--directory", str(tmp_path))
    monkeypatch.setattr(_digits, "build", interrupt)
    assert call(*command) == (130, "", "")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(_digits, "build", lambda **settings: None)
    monkeypatch.setattr(checkpoint, "Checkpoints", interrupt)
    again = f"optaxctl demo --resume --directory {tmp_path}"
    told = f"Interrupted; `{again}` continues the run.\n"
    assert call(*command) == (130, "", told)

    (tmp_path / "file").touch()
    place = tmp_path / "file" / "demo"
    code, out, err = call("demo", "--directory", str(place.parent))
    told = f"{place} cannot be written: Not a directory.\n"
    assert (code, out, err) == (1, "", told)


@pytest.mark.parametrize("option", ["seed", "epochs"])
def test_a_run_resumes_only_as_what_it_is(tmp_path, option):
    settings = {"seed": 1, "epochs": 30}
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "demo.json").write_text(json.dumps(settings))
    done = demo(tmp_path, "--resume", f"--{option}", "7")
    assert done.returncode == 1
    assert f"started with --{option} {settings[option]} and" in done.stderr


def test_damaged_settings_are_a_sentence(tmp_path):
    place = tmp_path / "demo"
    place.mkdir()
    (place / "demo.json").write_text('{"seed": 1, "epo')
    with pytest.raises(DemoError, match=r"demo\.json is damaged .* start a new run\."):
        run(tmp_path, epochs=None, seed=None, resume=True)


def test_a_new_run_replaces_an_earlier_one(tmp_path):
    place = tmp_path / "demo"
    (place / "checkpoints" / "99").mkdir(parents=True)
    (place / "demo.json").write_text('{"seed": 1, "epochs": 9}')
    done = demo(tmp_path, "--epochs", "3", "--seed", "2", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert f"Replacing the earlier run in {place}.\n" in done.stderr
    assert json.loads(done.stdout)["steps"] == 3 * 18
    assert json.loads((place / "demo.json").read_text()) == {"seed": 2, "epochs": 3}
    assert [path.name for path in (place / "checkpoints").iterdir()] == ["54"]
