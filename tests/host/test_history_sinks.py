"""Sinks are told all that the database is, in the order in which it happened."""

import numpy as np

import optaxctl as octl
from optaxctl.host._totals import Totals
from optaxctl.host.runs import Project
from tests.host._rows import KINDS, QUIET, row, table


def test_a_sink_hears_of_outcomes_and_of_going_back(tmp_path):
    records = []
    with octl.history.History(tmp_path, sinks=[records.extend]) as first:
        first.write(row(range(1, 61), refused=lambda s: s == 3))
        first.write(row(range(61, 71), clipped=lambda s: s == 65))
        first.evaluated(70, time=3.0, record=2.0, val_loss=float("nan"))
    told = [(r["kind"], r["outcome"]) for r in records if r["record"] == "event"]
    limit = "1 step was clipped, until step 65, from at most 0 times the limit."
    assert sorted(told) == [
        *(("clipped", ""), ("clipped", limit)),
        *(("refused", ""), ("refused", "1 step was refused, until step 3.")),
    ]
    (evaluation,) = (r for r in records if r["record"] == "evaluation")
    assert {n: v for n, v in evaluation.items() if n != "time"} == {
        "record": "evaluation",
        "step": 70,
        "eval/time": 3.0,
        "eval/record": 2.0,
    }
    records.clear()
    timed = lambda: Project(tmp_path).run(first.key).summary["timed"]
    before = timed()
    with octl.history.History(tmp_path, resume=first.key, sinks=[records.extend]) as h:
        h.write(row(range(51, 53)))
    assert [(r["record"], r.get("step")) for r in records[:4]] == [
        *(("run", None), ("back", 50), ("step", 51), ("step", 52)),
    ]
    assert (before, timed()) == (10, 10)  # of rows that came at once nobody knows


def test_a_step_takes_what_the_recorded_ones_took():
    totals = Totals({})
    steps = table(range(1001, 1021))
    stacked = np.repeat([10.0, 20.0], 10)  # two scans of ten steps
    for first in (0, 10):
        part = steps.part(first, first + 10)
        totals.add(type(part)(part.columns, part.words, stacked[first : first + 10]))
    assert (totals.summary["seconds"], totals.summary["seconds_per_step"]) == (10, 1)
    again = Totals({}, totals.summary)
    again.add(table(range(1021, 1031)))  # a second each, after a pause
    assert again.summary["seconds_per_step"] == 1
    first = Totals({})
    first.add(table([7]))
    assert first.summary["seconds_per_step"] is None


def test_counters_are_of_all_control_states():
    group = {f"group/1/{name}": kind for name, kind in KINDS.items()}
    values = {f"group/1/{name}": lambda s, v=v: v for name, v in QUIET.items()}
    values |= {"refused": lambda s: s == 2, "group/1/refused": lambda s: s >= 2}
    totals = Totals({})
    totals.add(table(range(1, 4), more=group, **values))
    assert (totals.summary["steps"], totals.summary["refused"]) == (3, 3)
