"""A run that is watched: its charts, its screen, and a line for every change."""

import io
import sys

import numpy as np
import pytest
from rich.console import Console

from optaxctl.cli import _watch
from optaxctl.cli._chart import bars
from optaxctl.host._sampled import sampled
from optaxctl.host.runs import Project
from tests.cli._acts import change, interrupt, meanwhile
from tests.cli.test_runs import HOSTILE, call, strict
from tests.report._project import event, training, write


def test_bars_have_the_scale_that_they_say():
    nan = float("nan")
    assert bars([1, 10, nan, 100], 2) == (["   █", "▁█ █"], 1, 100, True)
    assert bars([1, 2, 4], 1, zero=True) == (["▂▄█"], 0, 4, False)
    assert bars([3, 4, 5], 1) == (["▁▄█"], 3, 5, False)
    assert bars([0.5] * 3, 2) == (["   ", "███"], 0.5, 0.5, False)
    assert bars([nan, float("inf")], 1) is None


def test_a_long_run_is_sampled_in_means_of_a_few_steps(tmp_path):
    loss = np.arange(1, 1001, dtype=np.float32)
    loss[0] = np.nan
    at = {"val_loss": ([100, 751], [5.0, 3.0])}
    run = write(tmp_path, {"step": loss, "loss": loss}, evaluations=at)
    edges, series = sampled(run, ["loss", "val_loss", "nothing"], 4)
    assert edges == [1, 251, 501, 751, 1001]
    assert series["loss"] == [9.0, 258.5, 508.5, 758.5]  # 2 to 16, 251 to 266, ...
    assert series["val_loss"] == [5.0, 5.0, 5.0, 3.0]
    assert series.keys() == {"loss", "val_loss"}
    few = sampled(write(tmp_path, {"loss": [2.0, 1.0]}), ["loss"], 5)
    assert few == ([1, 1, 1, 2, 2, 3], {"loss": [2.0, 2.0, 2.0, 1.0, 1.0]})
    assert sampled(write(tmp_path, {}), ["loss"], 5) == ([], {})


@pytest.mark.parametrize(
    ("width", "height", "tall"), [(100, 40, 3), (90, 19, 2), (70, 16, 1), (12, 5, 0)]
)
def test_a_watched_run_fits_the_terminal(tmp_path, width, height, tall):
    summary = training(tmp_path, key="a", name=HOSTILE, status="running").summary
    summary["best"][HOSTILE] = [1.0, 1]
    more = [event(300, f"knob/{n}", actor=HOSTILE, old=2.0, new=1.0) for n in "abc"]
    change(tmp_path, *more, summary=summary)
    run = Project(tmp_path).run("a")
    look = _watch.Look(run, run.events(), [], True)
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, highlight=False)
    console.print(_watch.Screen(look))
    lines = file.getvalue().splitlines()
    assert all(len(line) <= width and line.isprintable() for line in lines)
    drawn = [n for n, line in enumerate(lines) if set("▁▂▃▄▅▆▇█") & set(line)]
    assert len(drawn) == 3 * tall
    if tall:
        assert len(lines) < height
        names = [lines[n].split("  ")[0] for n in drawn[::tall]]
        assert names == ["val_loss", "loss", "learning rate"]
        axis, _, last = lines[drawn[-1] + 1].strip().partition(" ")
        assert last == "step 300"
        # The NaN in step 30, the cut in step 150, and the end.
        at = [n / (len(axis) - 1) for n, c in enumerate(axis) if c == "▲"]
        assert at == pytest.approx([0.1, 0.5, 1], abs=1 / len(axis))
        assert lines[-1] == "Ctrl-C ends the watching, not the run."


def test_a_watched_run_is_a_line_for_every_change(tmp_path, monkeypatch):
    last = {"last": {"loss": 0.5, "learning_rate": 0.1}, "best": {"loss": [0.5, 1]}}
    write(tmp_path, {}, key="a", status="running", step=1, summary=last)
    acts = (
        lambda: None,
        lambda: change(tmp_path, event(7, "refused"), step=8),
        lambda: change(tmp_path, status="failed", reason="Out of memory."),
    )
    left = meanwhile(monkeypatch, _watch, *acts)
    code, out, err = call(tmp_path, "watch")
    assert (code, err, left) == (0, "", [])
    assert [line.split() for line in out.splitlines()] == [
        ["1", "running", "loss", "0.5", "learning_rate", "0.1"],
        ["7", "rate", "refused"],
        ["8", "running", "loss", "0.5", "learning_rate", "0.1"],
        ["8", "FAILED", "loss", "0.5", "learning_rate", "0.1", "Out", "of", "memory."],
    ]
    _, out, _ = call(tmp_path, "watch", "-o", "json")
    found = strict(out)  # it has ended, so there is one
    assert (found["run"]["status"], found["events"][0]["step"]) == ("failed", 7)


def test_ctrl_c_ends_the_watching_and_not_the_run(tmp_path, monkeypatch):
    write(tmp_path, {"loss": [2.0, 1.0]}, key="a", status="running")
    meanwhile(monkeypatch, _watch, interrupt)
    code, _, err = call(tmp_path, "watch")
    assert (code, err) == (130, "a goes on.\n")
    assert Project(tmp_path).run().status == "running"


def test_on_a_terminal_a_watched_run_is_drawn_in_place(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    write(tmp_path, {"loss": [2.0, 1.0]}, key="a", status="running")
    meanwhile(monkeypatch, _watch, lambda: change(tmp_path, status="finished"))
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "LINES": "20"}.items():
        monkeypatch.setenv(name, value)
    _watch.watch(Project(tmp_path), Project(tmp_path).run(), as_json=False)
    out = terminal.getvalue()
    assert out.index("RUNNING") < out.index("\x1b[1A") < out.index("FINISHED")
    assert out.rindex("Ctrl-C ends") < out.index("FINISHED")
    assert out.endswith("\x1b[?25h")  # the cursor is back
