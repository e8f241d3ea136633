"""Files on the command line: written, checked, explained, drawn; and what is here."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import optaxctl as octl
from tests.cli._calls import HOME, call, strict
from tests.report._project import write

ROOT = Path(__file__).parents[2]
COSINE = "learning_rate: 0.5\nschedule: {type: cosine, decay_steps: 100}\n"
WARM = "schedule: {type: warmup, warmup_steps: 20, schedule: {type: linear, "
WARM += "transition_steps: 80, end_value: 0}}\nlr: plateau\n"
THREE = "learning_rate: 0.5\nschedule: {type: warmup_stable_decay, "
THREE += "warmup_steps: 2, stable_steps: 3, decay_steps: 5}\n"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize("preset", octl.config.PRESETS)
def test_init_writes_what_is_valid_and_never_over_a_file(preset):
    code, out, err = call("init", "--preset", preset)
    assert (code, out) == (0, "run.yaml\n")
    text = Path("run.yaml").read_text()
    schema = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert schema in err
    assert json.loads(Path(schema).read_text()) == octl.config.schema()
    config = octl.config.parse(text)
    assert text.splitlines()[1] == f"preset: {preset}"
    assert None not in (config.recording, config.checkpointing, config.training)

    Path("run.yaml").write_text("mine")
    code, out, err = call("init")
    assert (code, out) == (1, "")
    assert err == "run.yaml is there already; --force replaces it.\n"
    assert Path("run.yaml").read_text() == "mine"
    assert strict("init", "--force") == (0, {"file": "run.yaml", "schema": schema})
    assert Path("run.yaml").read_text() != "mine"


def test_validate_says_what_is_wrong_all_at_once_or_what_it_means():
    Path("run.yaml").write_text("preset: balancd\nlr: {type: plateau, patience: 5}\n")
    code, out, err = call("validate", "run.yaml")
    assert (code, out) == (1, "")
    first, second, last = err.splitlines()
    assert first.startswith("run.yaml:1: preset: must be ")
    assert first.endswith("Did you mean `balanced`?")
    assert second.startswith("run.yaml:2: lr.patience: is no key of `plateau`.")
    assert last == "run.yaml has 2 problems."

    # What only the factories know is said with its place too.
    Path("run.yaml").write_text("lr:\n  type: plateau\n  updates: 0\n")
    code, found = strict("validate", "run.yaml")
    (problem,) = found["problems"]
    assert (code, found["valid"], found["config"]) == (1, False, None)
    assert (problem["place"], problem["key"]) == ("run.yaml:3", "lr.updates")

    # All at once, but what is not there because it is wrong is no further problem.
    Path("run.yaml").write_text(
        "learning_rate: x\nschedule: {type: cosine, decay_steps: 0}\n"
        "lr: {type: plateau, updates: 5.5}\ntraining: {max_epochs: 0}\n"
    )
    _, found = strict("validate", "run.yaml")
    assert [problem["key"] for problem in found["problems"]] == [
        *("learning_rate", "schedule.decay_steps", "lr.updates", "training.max_epochs")
    ]

    Path("run.yaml").write_text("lr: {type: plateau, updates: 7}\n")
    variables = {"OPTAXCTL_LR__UPDATES": "8", HOME: "elsewhere"}
    code, out, err = call("validate", "run.yaml", **variables)
    assert (code, err) == (0, "run.yaml is valid.\n")
    assert octl.config.parse(out).lr.updates == 8
    assert call("validate", "none.yaml")[0] == 1


def test_validate_converts_what_other_libraries_have():
    Path("aios.yml").write_text(
        "adaptive_lr: {increase_factor: 1.2, debug_level: 2, brake: 3}\n"
    )
    code, out, err = call("validate", "aios.yml", "--from", "aios")
    assert code == 0
    assert octl.config.parse(out).lr.increase == 1.2
    used, refused, *_, last = err.splitlines()
    assert used.startswith("aios.yml:1: adaptive_lr.increase_factor: used: ")
    assert refused.startswith("aios.yml:1: adaptive_lr.debug_level: refused because ")
    assert last == "aios.yml has 3 keys: 1 used, 2 refused."
    code, found = strict("validate", "aios.yml", "--from", "aios")
    assert [row["verdict"] for row in found["rows"]] == ["used", "refused", "refused"]
    assert (code, found["config"]["lr"]["increase"]) == (0, 1.2)
    assert call("validate", "aios.yml", "--from", "trainner")[0] == 1
    Path("aios.yml").write_text("mode: xyz\nincrease_factor: x\n")
    code, found = strict("validate", "aios.yml", "--from", "aios")
    keys = [problem["key"] for problem in found["problems"]]
    assert (code, keys) == (1, ["mode", "lr.increase"])


def test_explain_tells_of_sections_types_and_keys():
    code, out, _ = call("explain", "clipping.max_norm")
    assert (code, out) == (0, octl.config.explain("clipping.max_norm"))
    code, out, err = call("explain", "lr.pateince")
    assert (code, out) == (2, "")
    assert "Did you mean `patience`?" in err
    assert "early_stopping  What ends the run." in call("explain")[1]
    assert "early_stopping" in strict("explain")[1]["sections"]
    _, found = strict("explain", "lr.plateau.factor")
    (entry,) = found["found"]
    assert (entry["type"], entry["takes"], entry["default"]) == (
        "plateau",
        "number",
        0.1,
    )
    assert entry["description"].startswith("The factor of one cut")
    kinds = [e["type"] for e in strict("explain", "lr.patience")[1]["found"]]
    assert "adaptive" in kinds
    assert "plateau" not in kinds
    _, found = strict("explain", "lr.plateau")
    assert "factor" in found["found"][0]["keys"]


def test_schedules_are_drawn_and_told_at_key_steps():
    Path("cosine.yaml").write_text(COSINE)
    Path("warm.yaml").write_text(WARM)
    code, out, err = call(
        "schedule", "plot", "cosine.yaml", "warm.yaml", "--save", "a.svg"
    )
    lines = [line.split() for line in out.splitlines()]
    assert (code, lines[0]) == (0, ["step", "cosine.yaml", "warm.yaml"])
    assert ["0", "0.5", "0"] in lines
    assert ["20", "0.4523", "1"] in lines  # where the warm-up ends
    assert ["50", "0.25", "0.625"] in lines
    assert lines[-3] == ["100", "0", "0"]  # by the steps in the files
    assert "warm.yaml: highest 1 at step 20, lowest 0 at step 0, mean 0.495." in out
    assert "warm.yaml: it names no rate; this is the factor of one." in err
    assert "warm.yaml: `lr` can move the rate further; this is without it." in err
    picture = Path("a.svg").read_text()
    assert picture.startswith("<?xml")

    Path("three.yaml").write_text(THREE)
    code, found = strict("schedule", "plot", "three.yaml")
    (course,) = found["schedules"]
    assert (code, found["picture"], found["steps"]) == (0, "schedule.png", 10)
    assert (course["highest"], course["values"][-1]) == ([0.5, 2], [10, 0])
    _, found = strict("schedule", "plot", "three.yaml", "--steps", "5")
    assert found["schedules"][0]["values"][-1] == [5, 0.5]
    assert Path("schedule.png").read_bytes()[:4] == b"\x89PNG"

    Path("flat.yaml").write_text("learning_rate: 0.5\n")
    Path("odd.yaml").write_text("schedule: {type: custom, function: 'os:getcwd'}\n")
    for arguments, status in (
        (["flat.yaml"], 2),  # how far?
        (["cosine.yaml", "--save", "a.jpg"], 2),
        (["cosine.yaml", "--save", "none/a.png"], 1),
        (["none.yaml"], 1),
        (["odd.yaml", "--steps", "5"], 1),
    ):
        code, out, err = call("schedule", "plot", *arguments)
        assert (code, out) == (status, "")
        assert err


def test_doctor_finds_what_is_broken(place, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(place))
    code, found = strict("doctor")
    assert (code, found["ok"]) == (0, True)
    states = {check["check"]: check["state"] for check in found["checks"]}
    assert (states["jax"], states["database"]) == ("ok", "ok")
    write(place / "runs", {"loss": [1.0]}, key="golf-01")
    code, out, err = call("doctor")
    assert code == 0
    assert re.search(r"database +ok +runs/optaxctl.db, 1 run, ", out)
    assert err.startswith("Nothing is broken, ")

    data = Path("runs/optaxctl.db").read_bytes()
    Path("runs/optaxctl.db").write_bytes(data[:-4096] + b"\xff" * 4096)
    Path("runs/golf-01.spill.jsonl").touch()
    variables = {"OPTAXCTL_LR__UPDATES": "8", "OPTAXCTL_LRR": "8"}
    monkeypatch.setitem(sys.modules, "jax", None)
    code, found = strict("doctor", **variables)
    assert (code, found["ok"]) == (1, False)
    states = {check["check"]: check["state"] for check in found["checks"]}
    assert (
        states["devices"] == states["database"] == states["$OPTAXCTL_LRR"] == "broken"
    )
    assert states["$OPTAXCTL_LR__UPDATES"] == states["spill file"] == "note"


def test_shells_complete_keys_without_jax(place):
    write(place / "elsewhere", {"loss": [1.0]}, key="golf-01")
    code = (
        "import os, sys\n"
        "from optaxctl.cli._app import app\n"
        "for line in ('show g', 'show --directory elsewhere g', 'explain lr.pl'):\n"
        "    words = ['optaxctl', *line.split()]\n"
        "    os.environ['COMP_WORDS'] = ' '.join(words)\n"
        "    os.environ['COMP_CWORD'] = str(len(words) - 1)\n"
        "    os.environ['_OPTAXCTL_COMPLETE'] = 'complete_bash'\n"
        "    try: app(prog_name='optaxctl')\n"
        "    except SystemExit: print()\n"
        "assert 'jax' not in sys.modules\n"
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}
    environment.pop(HOME, None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["golf-01", "lr.plateau"]
