"""Configurations: what is read, what is refused and where, and what is built."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import optaxctl as octl
from optaxctl.host.config._sections import SECTIONS
from optaxctl.host.config._yaml import dump

ROOT = Path(__file__).parent.parent.parent
FULL = """\
preset: balanced
learning_rate: 1e-3
optimizer: {weight_decay: 0.1}
schedule:
  type: warmup
  warmup_steps: 1e2
  schedule: {type: cosine, decay_steps: 1000}
lr: {increase: 1.2}
early_stopping:
  type: any_of
  rules: {patience: {type: patience, updates: 5}, entropy: {type: limit, value: 1.0,
    monitor: entropy}}
snapshots: true
recording: {signals: [entropy]}
training: {max_epochs: 10, monitor: val_acc, mode: max}
"""


def test_one_file_builds_what_it_describes(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(FULL)
    config = octl.config.read(tmp_path / "run.yaml", environ={})
    assert repr(config.controller()) == (
        "together(guard=guard(), lr=lr.adaptive(window=50, increase=1.2, "
        "nonfinite='ignore'), clipping=clip.auto(), early_stopping=stop.any_of("
        "patience=stop.patience(5), entropy=stop.limit(1.0, monitor='entropy')))"
    )
    rates = config.rate()(jnp.array([0, 50, 100]))
    assert [round(float(rate), 6) for rate in rates] == [0, 5e-4, 1e-3]
    assert config.loop() == {"max_epochs": 10, "monitor": "val_acc", "mode": "max"}
    tx = octl.from_config(tmp_path / "run.yaml", optax.adamw, environ={})
    params = jnp.ones(2)
    state: Any = tx.init(params)
    assert state.layout.keys("observed") == ["val_loss"]
    step = functools.partial(tx.update, params, state, params, value=1.0)
    jax.eval_shape(functools.partial(step, entropy=0.5))
    with pytest.raises(TypeError, match="the signal `entropy`"):
        jax.eval_shape(step)
    assert len(state.snapshots) == 2
    hyperparams = octl.read(state).hyperparams
    assert round(hyperparams["weight_decay"], 6) == 0.1
    again = octl.config.parse(config.as_yaml())
    assert again == config
    assert again.lr == config.lr
    off = octl.config.parse("guard: false")
    assert octl.config.parse(off.as_yaml()) == off != octl.config.parse("")
    assert again.lr != octl.config.parse(FULL, overrides={"lr.increase": "1.3"}).lr


def test_numbers_and_words_are_those_of_yaml_1_2() -> None:
    read = octl.config.parse(
        "learning_rate: 1e-5\n"
        "optimizer: {a: 010, b: 0x1F, c: 0o17, d: 1:30, e: on, f: 2026-01-02, g: .5,\n"
        "  h: 1_000, i: -.inf, j: ~, on: 1, null: 2, k: '1e5', l: TRUE, m: +1.}"
    )
    assert read.learning_rate == 1e-5
    values = (10, 31, 15, "1:30", "on", "2026-01-02", 0.5, "1_000", -float("inf"), None)
    assert dict(read.optimizer) == {
        **dict(zip("abcdefghij", values, strict=True)),
        "on": 1,
        "null": 2,
        "k": "1e5",
        "l": True,
        "m": 1.0,
    }
    assert octl.config.parse(read.as_yaml()) == read
    assert dump({"on": "on", "a": "1e5"}) == "on: on\na: '1e5'\n"


def test_variables_go_over_the_file_and_overrides_over_them() -> None:
    environ = {
        "OPTAXCTL_EARLY_STOPPING__PATIENCE": "20",
        "OPTAXCTL_LR__UPDATES": "3",
        "OPTAXCTL_LEARNING_RATE": "1e-4",
        "OPTAXCTL_CLIPPING": "quantile",
        "OPTAXCTL_RECORDING__SIGNALS": "[a, b]",
        "OPTAXCTL_SCHEDULE__SCHEDULE__DECAY_STEPS": "9",
        "HOME": "/",
    }
    text = "lr: plateau\nschedule: {type: warmup, warmup_steps: 1, schedule: cosine}"
    config = octl.config.parse(text, environ=environ, overrides={"lr.updates": "4"})
    assert config.early_stopping.patience == 20
    assert (config.lr.updates, config.learning_rate) == (4, 1e-4)
    assert config.clipping == octl.config.parse("clipping: quantile").clipping
    assert config.recording.signals == ("a", "b")
    assert config.schedule.schedule.decay_steps == 9
    whole = octl.config.parse(
        "early_stopping: true\nlr: null",
        environ={
            "OPTAXCTL_EARLY_STOPPING__PATIENCE": "3",
            "OPTAXCTL_LR__TYPE": "greedy",
        },
    )
    assert (whole.early_stopping.patience, whole.lr.factory.name) == (3, "greedy")


@pytest.mark.parametrize("preset", octl.config.PRESETS)
def test_preset_gives_way_key_by_key_and_its_template_says_it_all(preset: Any) -> None:
    whole = octl.config.parse(f"preset: {preset}")
    constant = getattr(octl.lr, preset.upper(), {})
    for name, value in constant.items():
        assert getattr(whole.lr, name) == value
    one = octl.config.parse(f"preset: {preset}\nlr: {{patience: 7}}\nclipping: false")
    assert one.lr.patience == 7
    assert one.lr.increase == whole.lr.increase
    assert (one.clipping, one.guard) == (None, whole.guard)
    other = octl.config.parse(f"preset: {preset}\nlr: {{type: plateau}}")
    assert other.lr == octl.config.parse("lr: plateau").lr
    text = octl.config.template(preset)
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    said = [line for line in lines if ": " in line or line[-1:] == ":"]
    spelt = octl.config.parse("\n".join(said))
    assert spelt == octl.config.parse(text)


def test_ready_made_optimizer_takes_no_rate_from_a_file() -> None:
    config = octl.config.parse("learning_rate: 1", name="run.yaml")
    with pytest.raises(octl.config.ConfigError, match=r"run.yaml:1: learning_rate: ac"):
        config.build(optax.adam(1e-3))
    tx = octl.config.parse("").build(optax.adam(1e-3))
    assert octl.read(tx.init(jnp.ones(2))).learning_rate is None


def test_where_things_go(tmp_path: Path) -> None:
    off = octl.config.parse("guard: true")
    with off.checkpoints() as checkpoints, off.history() as history:
        assert checkpoints is history is None
    assert off.loop() == {}
    text = f"checkpointing: {{directory: {tmp_path}/c, keep: 5}}\n"
    config = octl.config.parse(
        f"{text}recording: {{directory: {tmp_path}, name: digits}}"
    )
    with config.checkpoints() as checkpoints, config.history():
        assert checkpoints.directory.name == "c"
    (run,) = octl.runs.Project(tmp_path).runs()
    assert (run.name, run.config["checkpointing"]["keep"]) == ("digits", 5)


def test_checking_imports_no_jax_and_nothing_imports_pydantic_early() -> None:
    code = (
        "import sys, optaxctl as octl; octl.config.parse\n"
        "assert not {'jax', 'numpy', 'yaml', 'pydantic'} & sys.modules.keys()\n"
        "octl.config.parse('preset: moe\\nearly_stopping: {patience: 3}')\n"
        "octl.config.schema(); octl.config.explain('lr')\n"
        "assert not {'jax', 'numpy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_schema_describes_every_key_of_every_type() -> None:
    schema = octl.config.schema()
    rules = {n: d for n, d in schema["$defs"].items() if "." in n}
    assert len(rules) > 100
    for name, definition in rules.items():
        assert not definition["additionalProperties"]
        assert {*definition["required"]} <= definition["properties"].keys(), name
        for key in definition["properties"].keys() - {"type"}:
            group = name.partition(".")[0]
            section = next((n for n, g in SECTIONS.items() if g == group), "")
            assert not section or octl.config.explain(f"{section}.{key}")
    assert rules["clip.auto"]["properties"]["decay"] == {
        "description": "Weight of the past in the running moments, > 0 and < 1.",
        "default": 0.97,
        "type": "number",
    }
    with pytest.raises(ValueError, match="`lr` has no key `updats`"):
        octl.config.explain("lr.updats")
