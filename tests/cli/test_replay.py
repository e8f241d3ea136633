"""Another configuration on what a run has recorded, open loop."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
import pytest

import optaxctl as octl
from optaxctl.host import _replayed
from optaxctl.host.runs import Project
from tests.cli.test_runs import call, strict


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run that is cut, refuses a step, and stops."""
    directory = tmp_path_factory.mktemp("replay")
    controller = octl.together(
        lr=octl.lr.plateau(2, factor=0.5, monitor="val_loss"),
        guard=octl.guard(),
        early_stopping=octl.stop.patience(4, monitor="val_loss"),
    )
    sgd = octl.inject(optax.sgd, learning_rate=0.1)
    tx = octl.control(sgd, controller, observed=("val_loss",))

    @jax.jit
    def step(w, state, gradient):
        w, state = octl.apply_gradients(tx, gradient, state, w, value=w + gradient)
        return w, state, octl.row(state)

    w = jnp.ones(())
    state = tx.init(w)
    with octl.history.History(directory) as history:
        for n in range(1, 41):
            gradient = jnp.nan if n == 15 else 1.0
            w, state, row = step(w, state, jnp.asarray(gradient))
            history.write(row)
            if n % 4 == 0:  # it is best at step 8, and does not change after step 12
                value = {4: 0.5, 8: 0.25}.get(n, 0.75)
                history.evaluated(n, val_loss=value)
                state = octl.observe(state, val_loss=value)
            if octl.read(state).stop:
                break
    return directory


REPLAYED = """\
learning_rate: 0.1
lr: {{type: plateau, updates: 2, factor: {}, monitor: val_loss}}
early_stopping: {{type: patience, updates: {}, monitor: {}}}
"""


def test_a_replay_of_the_same_configuration_decides_the_same(recorded, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(REPLAYED.format(0.5, 4, "val_loss"))
    code, out, _ = call(recorded, "replay", "-c", str(path), "-o", "json")
    found = strict(out)
    assert (code, found["open_loop"]) == (0, True)
    did, would = found["recorded"], found["replayed"]
    assert (would["stop"], would["refused"], would["cuts"]) == (25, 1, 2)
    for course in (did, would):
        for each in course["events"]:
            each.pop("id", None)
    assert did == would
    assert [(e["step"], e["kind"]) for e in did["events"] if e["new"] is not None] == [
        (17, "lr_scale"),
        (25, "lr_scale"),
        (25, "stop"),
    ]


def test_of_several_control_states_it_says_which_it_replays(
    recorded, tmp_path, monkeypatch
):
    path = tmp_path / "run.yaml"
    path.write_text(REPLAYED.format(0.5, 4, "val_loss"))
    run = Project(recorded).run()
    assert _replayed.states(run) == 1
    more = [(f"group/{n}/{name}", "f") for n in (1, 2) for name in ("loss", "step")]
    several = _replayed.states(replace(run, columns=[*run.columns, *more]))
    monkeypatch.setattr(_replayed, "states", lambda run: several)
    _, _, err = call(recorded, "replay", "-c", str(path))
    assert err.startswith("The run has 3 control states; this is the first.\n")


def test_a_replay_of_another_shows_what_differs(recorded, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(REPLAYED.format(0.25, 2, "val_loss"))
    code, out, err = call(recorded, "replay", "-c", str(path))
    assert code == 0
    assert err.startswith("The replay is open loop: it is what ")
    _, stops, refused, _, lowered, _, *events = out.splitlines()
    assert stops.split() == ["stops", "at", "step", "25", "17"]
    assert refused.split()[2:] == ["1", "1"]
    assert lowered.split() == ["rate", "lowered", "2", "times", "1", "time"]
    assert [(line.split()[0], line.split()[1]) for line in events] == [
        *[("both", "15")] * 3,  # two alarms, and the refusal
        ("run", "17"),  # by a half
        ("replay", "17"),  # by three quarters
        ("replay", "17"),
        ("run", "25"),
        ("run", "25"),
    ]
    path.write_text(REPLAYED.format(0.25, 2, "vla_loss"))
    code, out, err = call(recorded, "replay", "-c", str(path))
    assert (code, out) == (1, "")
    assert "reads the signal `vla_loss`, and run-" in err
    assert "did not record it. Did you mean `val_loss`? It has" in err
    path.write_text("lr: {type: plateua}")
    code, out, err = call(recorded, "replay", "-c", str(path))
    assert (code, out) == (1, "")
    assert err.startswith(f"{path}:1: lr.type: ")
