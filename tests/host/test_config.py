"""Configurations: what is read, what is refused and where, and what is built."""

import functools
import re
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


def problems(
    text: str, environ: dict[str, str] | None = None, **overrides: str
) -> list[str]:
    def build() -> Any:
        given: Any = {"environ": environ, "overrides": overrides}
        return octl.config.parse(text, name="run.yaml", **given).build(optax.adamw)

    with pytest.raises(octl.config.ConfigError) as caught:
        build()
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


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


REFUSED = [
    ("lr:\n  type: plateu", r"2: lr.type: must be adaptive, .*mean `plateau`"),
    ("lr: {type: plateau, updats: 3}", r"is no key of `plateau`. It .*mean `updates`"),
    ("lr: {type: plateau, updates: 2.5}", r"must be a whole number, got 2.5"),
    ("lr: {type: plateau, updates: '3'}", r"must be a whole number, got '3'"),
    ("lr: {type: plateau, updates: true}", r"must be a whole number, got true"),
    ("lr: {type: plateau, factor: true}", r"must be a number, got true"),
    ("lr: {type: plateau, mode: mn}", r"must be 'min' or 'max', got 'mn'.*`min`"),
    ("lr: {type: adaptive, window: 5, sliding: on}", r"write `true`"),
    ("guard: off", r"1: guard: must be keys and values, got 'off'.*write `false`"),
    ("lr: {}", r"1: lr: needs `type`: adaptive,"),
    ("early_stopping: {type: patience}", r"updates: is required"),
    ("lr: {type: follow, schedule: cosine}", r"1: lr.schedule.decay_steps: is req"),
    ("early_stopping: {type: any_of, rules: [a]}", r"rules, each under a name"),
    ("lrr: 3", r"1: lrr: is no key. .* Did you mean `lr`"),
    ("monitoring: {}", r"Monitoring is not there yet"),
    ("batch_size: {}", r"batch size is not there yet"),
    ("preset: mo", r"Did you mean `moe`"),
    ("learning_rate: -1", r"must be a number > 0"),
    ("learning_rate: 1e300", r"finite in float32, got 1e\+300"),
    ("a: 1\nlr: plateau\nlr: greedy", r"3: lr: is there twice; first at run.yaml:2"),
    ("lr: &a plateau\nclipping: *a", r"2: This is no YAML: aliases are not read"),
    ("lr: !!python/object/apply:os.getcwd []", r"1: lr: The tag .* is not read"),
    ("- 1", r"1: A configuration is keys and values"),
    ("lr: {\n\n", r"3: This is no YAML"),
    ("lr: [a\x00]", r"1: The character .* is not YAML"),
    ("[" * 1000, r"nested too deeply"),
    ("learning_rate: 1e999", r"cannot be read as a number"),
    ("learning_rate: " + "9" * 5000, r"cannot be read as a number"),
    ("lr: {type: plateau,\n  updates: 0}", r"2: lr.updates: .*must be >= 1, got 0"),
    ("early_stopping: {strategy: delta,\n  baseline: 1.0}", r"2: early_stopping.b"),
    ("schedule: {type: linear, transition_steps: 3}", r"`learning_rate`, and there"),
    ("learning_rate: 1\noptimizer: {\n weight_decy: 1}", r"3: .*`weight_decay`"),
    ("lr: {type: when, controller: plateau,\n predicate: os:nothing}", r"2: lr.predi"),
    ("guard: false\nlearning_rate: 1", r"run.yaml: Nothing is left to control"),
    ("recording: {signals: [grad_norm]}\nlearning_rate: 1", r"1: recording.signals: "),
    ("{}", r"run.yaml: `learning_rate` is missing; `adamw` needs it"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[t[:40] for t, _ in REFUSED])
def test_what_is_wrong_is_said_with_its_place(text: str, words: str) -> None:

    found = problems(text)
    assert any(re.search(words, line) for line in found), found
    assert all(line.startswith("run.yaml") for line in found)


def test_all_problems_are_said_at_once_in_their_order() -> None:
    text = "lr: {type: plateau, a: 1, b: 2}\nlr: x\nclipping: 3\n\ntraining: {}\n"
    found = problems(text, {"OPTAXCTL_CLIP__X": "1"}, **{"guard.x": "1"})
    places = [line.split(": ")[0] for line in found]
    assert places == [
        *("$OPTAXCTL_CLIP__X", "--set guard.x"),
        *("run.yaml:1", "run.yaml:1", "run.yaml:2", "run.yaml:3", "run.yaml:5"),
    ]


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


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OPTAXCTL_EARLY_STOPPING__PATENCE", "20", "Did you mean `patience`"),
        ("OPTAXCTL_EARLY_STOPING__PATIENCE", "20", "no `early_stoping`. Did you mean"),
        ("OPTAXCTL_LR__UPDATES", "soon", "must be a whole number, got 'soon'"),
        ("OPTAXCTL_LR__UPDATES", "[", "This is no YAML"),
        (
            "OPTAXCTL_LR__UPDATES__X",
            "1",
            "leads into `lr.updates`, which",
        ),
        ("OPTAXCTL_LR__UPDATES", "0", "must be >= 1, got 0"),
        ("OPTAXCTL_", "0", "leads to no key"),
    ],
)
def test_a_variable_that_is_wrong_is_named(
    variable: str, value: str, words: str
) -> None:
    found = problems(
        "learning_rate: 1\nlr: {type: plateau, updates: 2}", {variable: value}
    )
    assert len(found) == 1
    assert found[0].startswith(f"${variable}: ")
    assert words in found[0]


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"lr: plateau\n# \xff", r"run.yaml:2: .*UTF-8"),
        (None, r"cannot be read: No"),
    ],
)
def test_file_that_cannot_be_read(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    if content:
        path.write_bytes(content)
    with pytest.raises(octl.config.ConfigError, match=words):
        octl.config.read(path)


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
