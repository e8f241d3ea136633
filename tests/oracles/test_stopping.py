"""`stop.like_...` against the early stopping of the libraries themselves."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from tests.oracles import _optuna, _prechelt
from tests.oracles._cases import (
    MATCHED,
    Case,
    Verdict,
    content,
    differs,
    only,
    settle,
    unproven,
)
from tests.oracles._stop_rules import QUIRKS, Rule, Trace, matches, reference, same


class Library(NamedTuple):
    """How a library's options are called here, and what it does beside its rule."""

    preset: Callable[..., Any]
    rule: Callable[[Mapping[str, Any]], dict[str, Any]]  # for the reference
    numbers: tuple[str, ...]  # options that are numbers, the same name here
    words: tuple[str, ...] = ()  # options that are not
    quirks: tuple[str, ...] = ()


def _delta(name: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda o: {"updates": o["patience"], "atol": o.get(name, 0.0)}


def _ignite(o: Mapping[str, Any]) -> dict[str, Any]:
    kind = "rtol" if o.get("threshold_mode") == "rel" else "atol"
    return {
        "updates": o["patience"],
        kind: o.get("threshold", 0.0),
        "cumulative": o.get("cumulative", False),
        "first": True,
    }


LIBRARIES = {
    "lightning": Library(
        octl.stop.like_lightning,
        lambda o: {
            "updates": max(o["patience"], 1),
            "atol": o.get("min_delta", 0.0),
            "finite": o.get("check_finite", True),
            "reached": o.get("stopping_threshold"),
            "beyond": o.get("divergence_threshold"),
        },
        ("patience", "min_delta", "stopping_threshold", "divergence_threshold"),
        ("check_finite",),
        ("infinite best",),
    ),
    "keras": Library(
        octl.stop.like_keras,
        lambda o: {
            "updates": max(o["patience"], 1),
            "atol": abs(o.get("min_delta", 0.0)),
            "baseline": o.get("baseline"),
            "start": o.get("start_from_epoch", 0),
            "first": True,
        },
        ("patience", "min_delta", "baseline", "start_from_epoch"),
        (),
        ("stores first", "infinite best"),
    ),
    "ignite": Library(
        octl.stop.like_ignite,
        _ignite,
        ("patience", "threshold"),
        ("threshold_mode", "cumulative"),
        ("stores first", "infinite best", "nan improves", "signed margin"),
    ),
    "transformers": Library(
        octl.stop.like_hf,
        lambda o: _delta("threshold")(o) | {"cumulative": False, "first": True},
        ("patience", "threshold"),
        (),
        ("infinite best",),
    ),
    "fastai": Library(
        octl.stop.like_fastai,
        _delta("min_delta"),
        ("patience", "min_delta"),
        (),
        ("infinite best",),
    ),
    "xgboost": Library(
        octl.stop.like_xgboost,
        lambda o: {
            "updates": o["rounds"],
            "atol": o.get("min_delta", 0.0),
            "first": True,
        },
        ("rounds", "min_delta"),
        (),
        ("stores first", "infinite best"),
    ),
    "lightgbm": Library(
        octl.stop.like_lightgbm,
        lambda o: {
            "updates": o["stopping_rounds"],
            "atol": o.get("min_delta", 0.0),
            "first": True,
        },
        ("stopping_rounds", "min_delta"),
        (),
        ("stores first", "infinite best"),
    ),
    "flax": Library(
        octl.stop.like_flax,
        lambda o: {
            "updates": o["patience"] + 1,
            "atol": o.get("min_delta", 0.0),
            "first": True,
        },
        ("patience", "min_delta"),
        (),
        ("infinite best", "replaces infinite"),
    ),
}
# Options that say nothing of when to stop, or that the file has beside the library's.
BESIDE = ("mode", "restore_best_weights", "modes", "first_metric_only")


@functools.cache
def replayed(library: str, words: frozenset[Any], strict: bool, traced: Any) -> Any:
    """One program for all cases that differ in numbers alone."""
    preset, known = LIBRARIES[library].preset, dict(words)
    del traced

    @jax.jit
    def run(values: Any, numbers: Any) -> Any:
        controller = preset(**known, **numbers, strict=strict)

        def update(state: Any, x: Any) -> Any:
            decision, state = controller.update({"val_loss": x}, state)
            return state, (decision.stop, state.stale, state.best)

        return jax.lax.scan(update, controller.init(), values)[1]

    return run


def observed(
    library: str, options: Mapping[str, Any], values: Sequence[float], *, strict: bool
) -> Trace:
    """Runs our controller."""
    known = LIBRARIES[library]
    words = {n: options[n] for n in ("mode", *known.words) if n in options}
    numbers = {n: options[n] for n in known.numbers if options.get(n) is not None}
    padded = np.full(64 * math.ceil(len(values) / 64), np.nan, np.float32)
    padded[: len(values)] = values
    run = replayed(library, frozenset(words.items()), strict, frozenset(numbers))
    bits, waits, best = (np.asarray(x)[: len(values)] for x in run(padded, numbers))
    stop = int(np.argmax(bits != 0)) if bits.any() else None
    end = len(values) if stop is None else stop + 1
    reason = "none" if stop is None else REASONS[int(bits[stop])]
    return Trace(stop, waits[:end].tolist(), best[:end].tolist(), reason)


REASONS: dict[int, str] = {
    octl.StopReason.PATIENCE: "patience",
    octl.StopReason.NONFINITE: "nonfinite",
    octl.StopReason.TARGET: "reached",
    octl.StopReason.LIMIT: "beyond",
}


def _rule(library: str, options: Mapping[str, Any]) -> Rule:
    mode = options.get("mode", "min")
    return Rule(mode=mode, **LIBRARIES[library].rule(options))


def judge(case: Case, sequences: dict[str, Any]) -> Verdict:
    if case.library == "definition":
        return _prechelt.judge(case)
    if case.library == "optuna":
        return _optuna.judge(case, sequences)
    if case.library not in LIBRARIES:
        return unproven(f"a library that is not known: {case.library}")
    if "combine" in case.config or "modes" in case.config:
        return several(case, sequences)
    known = LIBRARIES[case.library]
    if not only(case.config, (*known.numbers, *known.words, *BESIDE)):
        return unproven(f"an option that is not known: {sorted(case.config)}")
    values = case.inputs.get("values") or sequences[case.inputs["sequence"]]["values"]
    return single(case, values)


def single(case: Case, values: Sequence[float]) -> Verdict:
    rule, quirks = _rule(case.library, case.config), LIBRARIES[case.library].quirks
    ours = observed(case.library, case.config, values, strict=False)
    strict = observed(case.library, case.config, values, strict=True)
    plain = reference(rule, values, frozenset())
    if not same(plain, ours):
        return unproven(f"ours is {ours}, the rule says {plain}")
    if not matches(strict, case.expected):
        return unproven(f"strictly ours is {strict}, theirs {case.expected}")
    if matches(plain, case.expected):
        return MATCHED
    return differs(
        lambda trace: same(trace, plain),
        lambda trace: matches(trace, case.expected),
        {name: QUIRKS[name] for name in quirks},
        functools.partial(reference, rule, values),
    )


def several(case: Case, sequences: dict[str, Any]) -> Verdict:
    """Several metrics or processes: the first rule that is met stops."""
    config, inputs = case.config, case.inputs
    parts = config.get("monitors")
    if parts is None:
        shared = {n: v for n, v in config.items() if n not in BESIDE}
        parts = [{**shared, "mode": mode} for mode in config["modes"]]
        series = [sequences[name]["values"] for name in inputs["sequences"]]
        if config["first_metric_only"]:
            parts, series = parts[:1], series[:1]
    else:
        series = inputs.get("series") or inputs["ranks"]
        parts = parts * (len(series) // len(parts))

    def first(strict: bool) -> int | None:
        names = [f"m{i}" for i in range(len(parts))]
        preset = LIBRARIES[case.library].preset
        rules = {
            name: preset(**part, monitor=name, strict=strict)
            for name, part in zip(names, parts, strict=True)
        }
        table = {n: jnp.asarray(x) for n, x in zip(names, series, strict=True)}
        bits = octl.replay(octl.stop.any_of(**rules), table).decisions.stop
        return int(np.argmax(bits != 0)) if np.any(bits) else None

    theirs = case.expected["stop_index"]
    if first(strict=True) != theirs:
        return unproven(f"strictly ours is {first(strict=True)}, theirs {theirs}")
    return MATCHED if first(strict=False) == theirs else unproven("not strict only")


@pytest.mark.oldest
def test_the_presets_stop_where_the_libraries_do(
    oracles: Path, pytestconfig: pytest.Config
) -> None:
    file = content(oracles, "early_stopping.json.gz")
    sequences = {s["id"]: s for s in file["sequences"]}
    cases = [
        Case(c["lib"], c["name"], c["config"], c["inputs"], c["expected"])
        for c in file["cases"]
    ]
    settle(pytestconfig, cases, lambda case: judge(case, sequences))
