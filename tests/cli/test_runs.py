"""Recorded runs on the command line: data, messages, exit status, hostile names."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from optaxctl.cli import _app, _runs
from optaxctl.host import _database
from optaxctl.host._summary import TrainingSummary
from optaxctl.host.runs import Project, UnknownRun
from tests.cli._acts import database
from tests.report._project import event, training, write

# What a terminal would obey, what rich would, and what would break a line.
HOSTILE = "\x1b[31m[bold]digits[/bold]\n\x9b2J\u202egolf"
SHOWN = "[31m[bold]digits[/bold] 2Jgolf"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    training(directory, key="golf-01", name=HOSTILE)
    last = {"val_loss": 0.5, "learning_rate": 0.02, "lr_scale": 0.5, "grad_norm": 1.5}
    last |= {"clip_norm": float("inf"), "gauge/stop/patience_left": 3}
    best = {"loss": [0.5, 2], "val_loss": [0.25, 2]}
    summary = {"steps": 2, "best": best, "last": last, "lr": [0.02, 0.04]}
    event_ = event(2, "[red]", actor=HOSTILE, old=float("nan"), new=1.0, evidence={})
    write(
        directory,
        {"loss": [1.0, 0.5]},
        key="golf-02",
        status="failed",
        reason="[red]Out of memory.\x07",
        summary=summary,
        events=[event_],
    )
    return directory


def call(directory, *arguments, **environment):
    known = {"OPTAXCTL_HOME": str(directory), "COLUMNS": "40", "FORCE_COLOR": None}
    done = CliRunner().invoke(_app.app, arguments, env={**known, **environment})
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


def strict(text):
    found = json.loads(text, parse_constant=pytest.fail)
    assert found.pop("version") == 1
    return found


def test_runs_are_listed_newest_first_and_none_is_left_out_in_silence(project):
    code, out, err = call(project, "runs")
    assert (code, err) == (0, "")
    head, *lines = [line.split("  ")[0] for line in out.splitlines()]
    assert (head, lines) == ("run", ["golf-02", "golf-01"])
    assert "val_loss 0.25" in out

    _, out, err = call(project, "runs", "--limit", "1", "-o", "json")
    (run,) = strict(out)["runs"]
    assert (run["key"], run["summary"]["last"]["clip_norm"]) == ("golf-02", None)
    assert err == "The newest 1 of 2 runs; --limit 2 shows all.\n"
    _, out, _ = call(project, "runs", "--status", "failed", "-o", "json")
    assert [run["key"] for run in strict(out)["runs"]] == ["golf-02"]
    code, out, err = call(project, "runs", "--status", "lost")
    assert (code, out) == (0, "")
    assert err.endswith("has no lost runs.\n")


def test_show_is_one_screen_of_what_stands(project):
    code, out, err = call(project, "show", "golf-01")
    assert (code, err) == (0, "")
    title, reason, *lines = out.splitlines()
    assert title.startswith(f"run golf-01 ({SHOWN})   STOPPED   step 300   updated ")
    assert title.endswith("   jax 0.12.0")
    assert "for 5 checks; stopping at step 300." in reason
    told = "\n".join(lines)
    for words in (
        "best 0.4146 at",
        "300: 299 accepted, 1 refused",
        "6 s, 20 ms a step",
    ):
        assert words in told
    assert "150  rate  lr_scale  1 → 0.5  val_loss has not improved" in told

    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "60"}
    _, out, _ = call(project, "show", "golf-01", **terminal)
    wrapped = re.sub("\x1b.*?m", "", out).splitlines()[1:]
    assert max(map(len, wrapped)) <= 60
    assert " ".join("".join(wrapped).split()) == " ".join(
        "".join([reason, *lines]).split()
    )

    _, out, _ = call(project, "show")
    assert out.splitlines()[2:7] == [
        "val_loss       0.5   best 0.25 at step 2",
        "loss           —   best 0.5 at step 2",
        "learning rate  0.02   after a scale of 0.5   it was 0.02 to 0.04",
        "gradient norm  1.5",
        "stop           patience left 3",
    ]
    _, out, _ = call(project, "show", "-o", "json")
    found = strict(out)
    assert found["run"]["key"] == "golf-02"  # the latest
    assert found["summary"]["best"]["val_loss"] == [0.25, 2]
    assert found["events"][0]["old"] is None


@pytest.mark.parametrize("command", ["runs", "show", "events", "compare"])
def test_no_word_of_a_run_is_obeyed(project, command):
    keys = ["golf-01", "golf-02"] if command == "compare" else []
    _, out, _ = call(project, command, *keys)
    assert all(c.isprintable() for c in out.replace("\n", ""))
    if command != "runs":
        assert "[red]" in out


def test_no_word_of_a_metric_is_obeyed(tmp_path):
    write(tmp_path, {}, summary={"best": {HOSTILE: [1.0, 1]}})
    printed = f"{TrainingSummary.of(Project(tmp_path).run())}\n"
    for out in (printed, call(tmp_path, "compare", "@latest")[1]):
        assert all(c.isprintable() for c in out.replace("\n", ""))
        assert f"best {SHOWN}" in out


def test_colours_can_be_turned_off(project):
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm"}
    assert "\x1b[31mfailed" in call(project, "runs", **terminal)[1]
    assert "\x1b[31m" not in call(project, "runs", **terminal, NO_COLOR="1")[1]


def test_events_by_severity_and_as_lines_of_json(project):
    _, out, _ = call(
        project, "events", "golf-01", "--severity", "warning", "-o", "json"
    )
    found = [strict(line) for line in out.splitlines()]
    assert [e["severity"] for e in found] == ["critical", "warning"]
    assert found[0]["evidence"] == {"loss": None}
    assert found[0]["run"] == "golf-01"


def test_followed_events_come_once_and_end_with_the_run(tmp_path, monkeypatch):
    first = event(1, "refused")
    write(tmp_path, {}, key="a", status="running", events=[first])
    slept = []

    def goes_on(seconds):
        slept.append(seconds)
        last = {"key": "a", "status": "finished" if len(slept) == 2 else "running"}
        events = [event(1 + len(slept), "clipped")]
        db = _database.connect(tmp_path / _database.FILE)
        _database.write(db, [_database.Batch(last, None, [], events, [])])
        db.close()

    monkeypatch.setattr(_runs.time, "sleep", goes_on)
    code, out, err = call(tmp_path, "events", "--follow")
    assert (code, err, len(slept)) == (0, "a: finished.\n", 2)
    assert [line.split()[1:4] for line in out.splitlines()] == [
        ["1", "rate", "refused"],
        ["2", "rate", "clipped"],
        ["3", "rate", "clipped"],
    ]

    def interrupted(seconds):
        raise KeyboardInterrupt

    write(tmp_path, {}, key="b", status="running")
    monkeypatch.setattr(_runs.time, "sleep", interrupted)
    assert call(tmp_path, "events", "b", "--follow")[0] == 130


def test_the_best_run_and_runs_in_another_order(tmp_path):
    def ran(key, best, rate, **fields):
        summary = {"best": best, "last": {"learning_rate": rate}, **fields}
        status = "running" if key == "f" else "stopped" if key == "c" else "finished"
        write(tmp_path, {}, key=key, status=status, summary=summary)

    ran("a", {"loss": [0.01, 1]}, 0.1)
    with pytest.raises(UnknownRun, match=r"'@bets' in .* Did you mean `@best`"):
        Project(tmp_path).run("@bets")
    assert Project(tmp_path).run("@best").key == "a"
    ran("b", {"loss": [0.1, 1], "val_loss": [0.5, 9]}, float("nan"))
    ran("c", {"loss": [0.2, 1], "val_loss": [0.4, 9]}, 0.3, events={"info": 2})
    ran("d", {}, 0.2)
    ran("e", {"val_acc": [99.0, 1]}, 0.4, modes={"val_acc": "max"})
    ran("f", {"val_loss": [0.1, 9]}, 0.5)
    ran("g", {"val_acc": [98.0, 1]}, 0.4, modes={"val_acc": "max"})
    assert Project(tmp_path).run("@best").key == "c"
    orders = {"best": "fcbegad", "learning-rate": "fgecdab", "run": "abcdefg"}
    for column, order in {**orders, "events": "cgfedba"}.items():
        code, out, _ = call(tmp_path, "runs", "--sort", column)
        assert (code, "".join(n[0] for n in out.splitlines()[1:])) == (0, order)
    _, out, err = call(tmp_path, "runs", "--sort", "best", "--limit", "1")
    assert (out.splitlines()[1][0], err.split(";")[0]) == ("f", "The first 1 of 7 runs")
    keys = [run.key for run in Project(tmp_path).runs() if run.key != "f"]
    Project(tmp_path).delete(*keys)
    with pytest.raises(UnknownRun, match=r"No run in .* has finished with a metric"):
        Project(tmp_path).run("@best")


def test_a_report_is_there_in_whole_or_as_it_was(project, tmp_path, monkeypatch):
    path = tmp_path / "run.html"
    arguments = ("report", "golf-01", "--compare", "golf-02", "--save", str(path))
    code, out, err = call(project, *arguments)
    assert (code, out) == (0, f"{path}\n")
    assert err.startswith("The report has ")
    page = path.read_text(encoding="utf-8")
    assert "2 runs" in page

    def full(file):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = call(project, "report", "--save", str(path))
    full_disk = f"{path} cannot be written: No space left on device.\n"
    assert (code, out, err) == (1, "", full_disk)
    assert path.read_text(encoding="utf-8") == page
    assert os.listdir(tmp_path) == ["run.html"]
    monkeypatch.undo()
    none = tmp_path / "none" / "run.html"
    code, out, err = call(project, "report", "--save", str(none))
    there = f"{none} cannot be written: No such file or directory.\n"
    assert (code, out, err) == (1, "", there)
    code, out, _ = call(project, *arguments, "-o", "json")
    found = strict(out)
    assert (code, found.pop("bytes")) == (0, path.stat().st_size)
    assert found == {"path": str(path), "run": "golf-01", "compare": ["golf-02"]}


def test_compare_names_the_best(project):
    _, out, _ = call(project, "compare", "golf-01", "golf-02", "-o", "json")
    assert {k: v for k, v in strict(out).items() if k != "runs"} == {
        "monitor": "val_loss",
        "mode": "min",
        "best": "golf-02",
    }
    _, out, _ = call(project, "compare", "golf-02", "golf-01")
    assert out.splitlines()[-1].startswith("Best is digits: val_loss 0.25 at step 2, ")
    _, out, _ = call(project, "compare", "golf-02", "golf-01", "golf-02", "-o", "json")
    assert [run["key"] for run in strict(out)["runs"]] == ["golf-02", "golf-01"]
    code, out, err = call(project, "compare", "golf-01", "--monitor", "bleu")
    assert (code, out) == (2, "")
    assert "bleu" in err


def test_failures_have_a_status_and_a_sentence(project, tmp_path):
    code, out, err = call(project, "show", "gofl-01")
    assert (code, out) == (3, "")
    assert "Did you mean `golf-01`?" in err
    code, out, err = call(tmp_path, "runs")
    assert (code, out) == (3, "")
    assert "--directory or OPTAXCTL_HOME" in err
    database(tmp_path, lambda db: None)
    code, out, err = call(tmp_path, "runs")
    assert (code, out, err) == (0, "", f"{tmp_path} has no runs.\n")
    database(tmp_path, lambda db: db.execute("PRAGMA user_version = 99"))
    code, out, err = call(tmp_path, "runs")
    assert (code, out) == (1, "")
    assert "Upgrade optaxctl to read it." in err
    (tmp_path / _database.FILE).unlink()
    (tmp_path / _database.FILE).write_text("no database" * 100)
    code, out, err = call(tmp_path, "show")
    assert (code, out) == (1, "")
    assert "cannot be read: file is not a database" in err
    assert call(project, "events", "--severity", "bad")[0] == 2


def test_runs_can_be_sorted_by_what_is_shown():
    assert [name.replace("-", " ") for name in _app.Column] == list(_runs.HEAD)


def test_looking_needs_neither_jax_nor_numpy(project, tmp_path):
    code = (
        "import sys\n"
        "from optaxctl.cli._app import app\n"
        "for command in ('runs', 'show', 'events', 'watch', 'stop @best'):\n"
        "    app(command.split(), standalone_mode=False)\n"
        "assert not {'jax', 'numpy'} & sys.modules.keys()\n"
        "app(['report', '--save', sys.argv[1]], standalone_mode=False)\n"
        "app(['compare', '@latest'], standalone_mode=False)\n"
        "assert 'jax' not in sys.modules\n"
    )
    environment = {**os.environ, "OPTAXCTL_HOME": str(project)}
    path = tmp_path / "run.html"
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, path.is_file()) == (0, True), done.stderr
