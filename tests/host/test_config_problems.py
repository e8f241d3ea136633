"""Configurations that are refused: every problem, at once, with its place."""

import re
from pathlib import Path
from typing import Any

import optax
import pytest

import optaxctl as octl


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
    (
        "learning_rate: 1\nschedule: {type: custom,\n function: os:getcwd}",
        r"3: schedule.f"
        r"unction: `os:getcwd` must turn a step, .* it raised TypeError: ",
    ),
    ("learning_rate: 1\nschedule: {type: custom, function: ..os:f}", r"be imported"),
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


def test_what_cannot_be_read_is_one_problem() -> None:
    (found,) = problems("early_stopping: {patience: 1e400}")
    assert found.endswith(
        "early_stopping.patience: '1e400' cannot be read as a number."
    )


def test_counts_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    text = "training: {max_epochs: 0, look_every: -1, save_every: 2}\n"
    text += f"checkpointing: {{directory: {tmp_path}/c, keep: 0}}\n"
    with pytest.raises(octl.config.ConfigError) as caught:
        octl.config.parse(text).check()
    assert [problem.key for problem in caught.value.problems] == [
        *("training.max_epochs", "training.look_every", "checkpointing.keep")
    ]
    assert "(look_every=...)` must be >= 1, got -1." in str(caught.value)
    octl.config.parse(text.replace(" 0", " 1").replace("-1", "1")).check()
    assert not [*tmp_path.iterdir()]


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
