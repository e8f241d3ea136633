"""The sentences and the numbers of a report, and of a summary."""

import json
import math
import pathlib
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import optaxctl as octl
from optaxctl.host._format import duration, number
from optaxctl.report._gap import overfitting, training_between
from optaxctl.report._panels import panels
from optaxctl.report._thin import thin
from optaxctl.report._words import verdict
from tests.report._project import event, training, write

STEPS = np.arange(1, 101)
AT = np.arange(10, 101, 10)


@pytest.mark.parametrize(
    ("train", "val", "word"),
    [
        (1 / STEPS, 1 / AT, "none"),
        (1 / STEPS, 0.5 + np.abs(AT - 50) / 100, "overfitting"),
        (1 - STEPS / 100, 0.5 + np.maximum(50 - AT, 0) / 100, "widening"),
        (0.2 + np.abs(STEPS - 50) / 100, 0.5 + np.abs(AT - 50) / 100, "diverging"),
        (np.where(STEPS % 2, np.nan, 1 / STEPS), 1 / AT, "none"),
    ],
)
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_words_for_the_gap_do_not_depend_on_the_unit(
    train: Any, val: Any, word: str, unit: float
) -> None:
    offset = -7 * unit
    said = overfitting(STEPS, unit * train + offset, AT, unit * val + offset)
    assert said.word == word


def test_few_evaluations_do_not_tell() -> None:
    few = overfitting(STEPS, 1 / STEPS, AT[:3], 1 / AT[:3])
    assert few == ("unknown", "There are 3 evaluations, and it takes 4 to tell.")


def test_training_loss_of_an_evaluation_is_the_mean_since_the_last_one() -> None:
    loss = np.array([1.0, 3.0, np.nan, 5.0, 7.0, 9.0])
    at = np.array([2, 3, 5])
    mean = training_between(np.arange(1, 7), loss, at)
    np.testing.assert_array_equal(mean, [2.0, np.nan, 6.0])


@pytest.mark.parametrize("n", [2001, 12_345, 1_000_000])
def test_thinning_keeps_every_extreme_and_the_ends(n: int) -> None:
    x = 7 * np.arange(n)
    y = np.sin(np.arange(n) / n) + np.random.default_rng(0).standard_normal(n)
    y[n // 3 : n // 2] = np.nan
    y[n // 5], y[n - 2] = 100.0, -100.0
    steps, values = thin(x, y)
    assert len(steps) <= 2002
    assert (steps[0], steps[-1]) == (x[0], x[-1])
    assert (np.diff(steps) > 0).all()
    np.testing.assert_array_equal(values, y[steps // 7])
    assert (np.nanmax(values), np.nanmin(values)) == (100.0, -100.0)
    inside = (steps > x[n // 3 + n // 900]) & (steps < x[n // 2 - n // 900])
    assert inside.any()
    assert np.isnan(values[inside]).all()


def test_panels_hold_together_what_belongs_together(tmp_path: pathlib.Path) -> None:
    moving, still = panels([training(tmp_path)])
    lines = {p.key: [(line.name, line.kind) for line in p.lines] for p in moving}
    assert lines == {
        "loss": [
            ("loss", "step"),
            ("val_loss", "check"),
            ("loss, mean between checks", "mean"),
        ],
        "gap": [("gap", "check")],
        "learning_rate": [("learning_rate", "step")],
        "grad_norm": [("grad_norm", "step"), ("clip_norm", "bound")],
        "accuracy": [("val_accuracy", "check")],
        "lr_scale": [("lr_scale", "step")],
        "gauge/stop/patience_left": [("gauge/stop/patience_left", "step")],
    }
    assert [p.key for p in moving if p.log] == ["loss", "grad_norm"]
    assert [p.key for p in still] == ["knob/dropout"]
    assert moving[0].lines[0].broken == 1


def test_an_observed_signal_is_drawn_where_it_is_new(tmp_path: pathlib.Path) -> None:
    held = [np.nan, np.nan, 0.5, 0.5, 0.5, 0.4, 0.4]
    run = write(tmp_path, {"loss": np.arange(7) - 3.0, "val_loss": held})
    (panel, *_), _ = panels([run])
    np.testing.assert_array_equal(panel.lines[1].steps, [3, 6])
    assert panel.lines[1].values.tolist() == pytest.approx([0.5, 0.4])
    assert not panel.log  # a loss may be negative


def test_verdict_says_the_end_once(tmp_path: pathlib.Path) -> None:
    summary = octl.TrainingSummary.of(training(tmp_path))
    assert verdict(summary) == (
        "Stopped at step 300: val_loss has not beaten 0.4146 for 5 checks. On the way "
        "it refused 1 step and clipped 6 gradients (2 %)."
    )


def test_summary_as_text_data_and_json(tmp_path: pathlib.Path) -> None:
    summary = octl.TrainingSummary.of(training(tmp_path))
    assert str(summary).splitlines() == [
        "digits (run-0000): stopped at step 300",
        "reason         val_loss has not beaten 0.4146 for 5 checks; stopping at step "
        "300.",
        "steps          300: 299 accepted, 1 refused, 6 clipped (2 %)",
        "best val_loss  0.4146 at step 220",
        "learning rate  0.0002 to 0.003",
        "events         refused 1, lr_scale 1, stop 1",
        "time           6 s, 20 ms a step, 400 ms an epoch (median of 15)",
    ]
    assert summary.best["val_loss"][1] == 220
    assert summary.seconds_per_epoch == 0.4
    told = json.loads(json.dumps(summary.as_json(), allow_nan=False))
    assert told["interventions"] == {"refused": 1, "lr_scale": 1, "stop": 1}
    assert told["learning_rate"] == pytest.approx([2e-4, 3e-3])


def test_summary_of_a_run_that_has_just_begun(tmp_path: pathlib.Path) -> None:
    run = write(tmp_path, {}, summary={}, status="running", name="")
    summary = octl.TrainingSummary.of(run)
    assert str(summary) == (
        "run-0000: running at step 0\nsteps  0: 0 accepted, 0 refused\ntime   0 µs"
    )
    assert math.isnan(summary.seconds_per_step)
    assert summary.as_json()["seconds_per_step"] is None


def test_the_best_run_is_named_in_the_direction_of_its_metric(
    tmp_path: pathlib.Path,
) -> None:
    def recorded(name: str, modes: Any = None, **best: float) -> Any:
        pairs = {metric: [value, 7] for metric, value in best.items()}
        modes = {"accuracy": "max"} if modes is None else modes
        summary = {"steps": 9, "best": pairs, "modes": modes}
        return write(tmp_path, {}, name=name, summary=summary)

    a = recorded("a", accuracy=90.0, val_loss=0.5, extra=1.0)
    b = recorded("b", accuracy=80.0, val_loss=0.4)
    found = octl.report.compare([a, b])
    assert str(found) == "Best is b: val_loss 0.4 at step 7, against 0.5 of a."
    assert octl.report.compare([a, b], monitor="accuracy").best == 0
    head, rows = found.table()
    assert head[:4] == ["run", "best accuracy", "best val_loss", "best extra"]
    assert rows[1][:4] == ["b (best)", "80 at step 7", "0.4 at step 7", "—"]
    assert found.as_json()["best"] == b.key
    c = recorded("c", {}, accuracy=70.0)
    for runs in ([a, c], [c, a]):  # whatever the order is
        found = octl.report.compare(runs)
        assert runs[found.best or 0] == a
        assert str(found) == (
            "Best is a: accuracy 90 at step 7, against 70 of c. Higher counts as "
            "better, though c kept the lowest: the runs were told differently."
        )
    with pytest.raises(LookupError, match=r"'extra'. They have accuracy, val_loss in"):
        octl.report.compare([a, b], monitor="extra")
    with pytest.raises(ValueError, match=r"must hold at least one run"):
        octl.report.compare([])


def test_what_came_of_an_event_is_told_or_measured(tmp_path: pathlib.Path) -> None:
    checks = {"acc": ([2, 4], [70.0, 80.0]), "val_loss": ([2, 4], [0.5, 0.4])}
    happened = [
        event(3, "lr_scale", old=1.0, new=0.5),
        event(3, "rewind", outcome="It worked."),
        event(5, "knob/dropout", old=1.0, new=2.0, evidence={"change_pct": 100.0}),
    ]
    run = write(tmp_path, {"loss": [1.0]}, evaluations=checks, events=happened)
    rows = re.findall(r"<tr id=.*?</tr>", octl.report.html(run))
    cells = [[*re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]
    last = "val_loss was 0.5, and 0.4 at the next check, step 4."
    assert [row[-1] for row in cells] == [last, "It worked.", ""]
    assert [row[3] for row in cells] == ["1 → 0.5", "", "1 → 2"]
    assert cells[0][2].startswith("learning rate <span")
    assert cells[2][2].startswith("knob: dropout <span")
    assert cells[2][-2] == "change_pct 100"


def test_of_many_events_the_gravest_are_listed(tmp_path: pathlib.Path) -> None:
    events = [event(n, "clipped") for n in range(1, 601)]
    events += [event(601, "stop", severity="critical")]
    page = octl.report.html(write(tmp_path, {"loss": [1.0, 2.0]}, events=events))
    assert "There were 601 events; the 500 gravest are listed, and 200 marked." in page
    assert 'data-severity="critical">critical' in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5e-5, "25 µs"),
        (0.0402, "40.2 ms"),
        (59.4, "59.4 s"),
        (59.97, "1 min"),
        (125, "2 min 5 s"),
        (7200, "2 h"),
        (100_000, "1 d 3 h"),
        (math.nan, "unknown"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers() -> None:
    values = (None, 4320.0, 0.0388123, 1e-5, math.nan, math.inf)
    assert [*map(number, values)] == ["—", "4,320", "0.03881", "1e-05", "nan", "inf"]


def test_reports_load_neither_jax_nor_pyplot(tmp_path: pathlib.Path) -> None:
    training(tmp_path)
    code = f"""
import sys, optaxctl as octl
run = octl.runs.Project({str(tmp_path)!r}).run("@latest")
octl.report.html(run)
assert "matplotlib" not in sys.modules
octl.report.plot(run)
assert not {{"jax", "matplotlib.pyplot"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
