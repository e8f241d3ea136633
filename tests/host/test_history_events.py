"""Events are transitions, the same however the rows arrive in batches."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from optaxctl import Alarm, StopReason
from optaxctl.host._transitions import QUIET as GAP, Transitions
from tests.host._rows import KINDS, QUIET, table

CALLS = {
    "guard": "guard()",
    "clip": "clip.zscore(3.0)",
    "rate": "lr.plateau(8, monitor='loss')",
    "stop": "stop.patience(4)",
}
MORE = {
    "gauge/rate/scale": "f",
    "gauge/rate/to_beat": "f",
    "gauge/stop/patience_left": "i",
    "gauge/stop/stale": "i",
    "gauge/stop/to_beat": "f",
    "knob/dropout": "f",
}
STILL = {
    "gauge/rate/scale": 1.0,
    "gauge/rate/to_beat": 0.5,
    "knob/dropout": 1.0,
    "gauge/stop/patience_left": 4,
    "gauge/stop/stale": 0,
    "gauge/stop/to_beat": 0.5,
}


def rows(steps, **given):
    quiet = {name: (lambda step, v=value: v) for name, value in STILL.items()}
    return table(steps, more=MORE, **{**quiet, **given})


def told(whole, sizes=(), calls=CALLS):
    """Returns the events at the end of a run that came in batches of these sizes."""
    transitions, known = Transitions(calls), {}
    ends = [*itertools.accumulate(sizes), len(whole)]
    for first, end in itertools.pairwise([0, *[e for e in ends if e <= len(whole)]]):
        if end > first:
            for event in itertools.chain(*transitions.update(whole.part(first, end))):
                known[event["step"], event["actor"], event["kind"]] = dict(event)
    for event in transitions.close():
        known[event["step"], event["actor"], event["kind"]] = dict(event)
    return [known[key] for key in sorted(known)]


def test_a_quiet_run_has_no_events():
    assert told(rows(range(1, 300))) == []


def test_refused_steps_are_one_event_until_it_is_quiet():
    bad = {10, 11, 40, 200}
    alarm = int(Alarm.NONFINITE_LOSS)
    whole = rows(
        range(1, 300),
        refused=lambda s: s in bad,
        alarms=lambda s: alarm * (s in bad),
        loss=lambda s: math.nan if s in bad else 1.0,
    )
    first, second = (e for e in told(whole) if e["kind"] == "refused")
    assert (first["step"], first["actor"], first["severity"]) == (
        10,
        "guard",
        "critical",
    )
    assert first["reason"] == "The loss is NaN or infinite."
    assert first["outcome"] == "3 steps were refused, until step 40."
    assert first["evidence"] == {"grad_norm": 1.0, "steps": 3, "until": 40}
    assert second["outcome"] == "1 step was refused, until step 200."
    rise, _ = (e for e in told(whole) if e["kind"] == "alarm/nonfinite_loss")
    assert rise["outcome"] == "It was up in 3 steps, until step 40."


def test_clipping_says_by_how_much():
    norm = lambda s: 8.0 if s == 20 else 3.0
    whole = rows(
        range(1, 100),
        grad_norm=norm,
        clip_norm=lambda s: 2.0,
        clipped=lambda s: 10 <= s < 30,
    )
    (event,) = told(whole)
    assert (event["step"], event["actor"], event["kind"]) == (10, "clip", "clipped")
    assert (event["old"], event["new"]) == (3.0, 2.0)
    assert event["outcome"] == (
        "20 steps were clipped, until step 29, from at most 4 times the limit."
    )


def test_a_cut_of_the_rate_carries_the_fields_of_the_log_line():
    scale = lambda s: 0.5 if s >= 7 else 1.0
    whole = rows(
        range(1, 20),
        lr_scale=scale,
        learning_rate=lambda s: 0.1 * scale(s),
        **{"gauge/rate/scale": scale},
    )
    (event,) = told(whole)
    assert (event["step"], event["actor"], event["kind"]) == (7, "rate", "lr_scale")
    assert (event["old"], event["new"]) == (0.1, 0.05)
    assert event["reason"] == "loss did not beat 0.5."
    fields = event["evidence"]
    assert {n: fields[n] for n in ("event", "step", "decision", "reason")} == {
        "event": "lr_change",
        "step": 7,
        "decision": "decrease",
        "reason": event["reason"],
    }
    assert (fields["old_lr"], fields["new_lr"], fields["change_pct"]) == (
        0.1,
        0.05,
        -50,
    )
    assert fields["metrics"] == {"scale": 1.0, "to_beat": 0.5}


def test_a_ramp_is_one_event_and_two_cuts_are_two():
    ramp = lambda s: min(max((s - 10) / 20, 0.1), 1.0)
    rate = {"lr_scale": ramp, "learning_rate": ramp, "gauge/rate/scale": ramp}
    (event,) = told(rows(range(1, 60), **rate))
    assert (event["step"], event["old"], event["new"]) == (13, 0.1, 1.0)
    assert event["outcome"] == "It went on for 18 steps, until step 30."
    cuts = lambda s: 0.5 ** (s // 5)
    events = told(rows(range(1, 13), lr_scale=cuts, learning_rate=lambda s: math.nan))
    assert [(e["step"], e["actor"], e["old"], e["new"]) for e in events] == [
        (5, "rate", 1.0, 0.5),
        (10, "rate", 0.5, 0.25),
    ]


def test_stop_says_what_explain_says():
    whole = rows(
        range(1, 20),
        stop=lambda s: int(StopReason.PATIENCE) * (s >= 9),
        **{
            "gauge/stop/patience_left": lambda s: max(9 - s, 0),
            "gauge/stop/stale": lambda s: s - 5,
        },
    )
    (event,) = told(whole)
    assert (event["step"], event["actor"], event["severity"]) == (9, "stop", "info")
    assert event["reason"] == (
        "val_loss has not beaten 0.5 for 4 updates; stopping at step 9."
    )
    grave = told(rows(range(1, 5), stop=lambda s: int(StopReason.GAVE_UP)))
    assert grave[0]["severity"] == "critical"
    assert grave[0]["reason"] == (
        "Going back to a healthy state did not help. Stopping at step 1."
    )


def test_rewinds_and_knobs():
    whole = rows(
        range(1, 9),
        rewind=lambda s: s in (3, 4),
        **{"knob/dropout": lambda s: 0.5 if s > 5 else 1.0},
    )
    assert [(e["step"], e["kind"]) for e in told(whole)] == [
        *((3, "rewind"), (4, "rewind"), (6, "knob/dropout")),
    ]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 90), max_size=8))
def test_batches_do_not_matter(seed, sizes):
    rng = np.random.default_rng(seed)
    n = 300
    up = lambda p: rng.random(n) < p
    scale = np.cumprod(np.where(up(0.05), 0.9, 1.0)).astype(np.float32)
    stop, alarms = np.maximum.accumulate(up(0.005)), rng.integers(0, 9, n) * up(0.05)
    columns = {
        "refused": up(0.03),
        "clipped": up(0.1),
        "rewind": up(0.01),
        "stop": stop,
        "alarms": alarms,
        "grad_norm": 1 + rng.random(n),
        "lr_scale": scale,
        "learning_rate": scale,
        "gauge/rate/scale": scale,
        "clip_norm": np.ones(n),
    }
    functions = {name: (lambda s, x=x: x[s - 1]) for name, x in columns.items()}
    whole = rows(range(1, n + 1), **functions)
    once = told(whole)
    assert once == told(whole, sizes)
    starts = [e["step"] for e in once if e["kind"] == "clipped"]
    assert all(b - a > GAP for a, b in itertools.pairwise(starts))
    counted = sum(e["evidence"]["steps"] for e in once if e["kind"] == "clipped")
    assert counted == columns["clipped"].sum()


@pytest.mark.parametrize(
    ("calls", "actor"),
    [
        ({"": "stop.patience(4)"}, "stop.patience"),
        ({"a": "stop.patience(4)", "b": "stop.threshold(1.0)"}, "a"),
        ({"a": "stop.custom(f)", "b": "stop.threshold(1.0)"}, "stop"),
    ],
)
def test_who_stopped_is_told_as_far_as_it_is_known(calls, actor):
    whole = rows(range(1, 5), stop=lambda s: int(StopReason.PATIENCE))
    assert told(whole, calls=calls)[0]["actor"] == actor


def test_each_control_state_has_controllers_of_its_own():
    at, budget = "group/1/", int(StopReason.BUDGET)
    more = {at + name: kind for name, kind in KINDS.items()}
    given = {at + name: (lambda s, v=v: v) for name, v in QUIET.items()}
    given |= {"stop": lambda s: budget, at + "stop": lambda s: budget * (s > 2)}
    whole = table(range(1, 5), more=more, **given)
    calls = {"a": "stop.budget(1)", f"{at}b": "stop.budget(3)"}
    for prefix, step, actor in (("", 1, "a"), (at, 3, f"{at}b")):
        (event,), _ = Transitions(calls, prefix).update(whole)
        assert (event["step"], event["actor"]) == (step, actor)
