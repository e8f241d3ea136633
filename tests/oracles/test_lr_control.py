"""`lr.plateau` and `lr.greedy` against torch, Keras, fastai and Transformers."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import optaxctl as octl
from tests.oracles import _greedy, _torch_rules
from tests.oracles._cases import (
    MATCHED,
    Case,
    Verdict,
    content,
    differs,
    settle,
    unproven,
)

TINY = float(np.finfo(np.float32).tiny)

QUIRKS = {
    "infinite best": "an infinite value can become the best",
    "signed margin": "the relative margin best * (1 - d) has the wrong sign below zero",
    "idle cooldown": "a cut that the floor or eps refuses starts a cooldown",
    "endless wait": "a cut that the floor refuses does not end the wait",
}
LIBRARIES = {
    "torch": ("infinite best", "idle cooldown"),
    "keras": ("infinite best", "endless wait"),
    "fastai": ("infinite best",),
}
SHARED = {"scheduler", "optimizer", "mode", "factor", "patience", "min_lr"}
KNOWN = {
    "torch": SHARED
    | {"threshold", "threshold_mode", "cooldown", "eps", "then_each_step"},
    "keras": SHARED | {"min_delta", "cooldown"},
    "fastai": SHARED | {"min_delta"},
}


class Setting(NamedTuple):
    """A plateau, in the words of this library."""

    rate: float
    updates: int
    factor: float
    mode: str
    atol: float
    rtol: float
    cooldown: int
    floor: float
    eps: float


class Trace(NamedTuple):
    """What holds right after each metric."""

    rate: np.ndarray
    wait: np.ndarray
    to_beat: np.ndarray


def settings(library: str, config: dict[str, Any]) -> list[Setting]:
    """Returns one setting for each parameter group."""
    rates = config["optimizer"].get("groups", [config["optimizer"]["lr"]])
    floors = config.get("min_lr", 0.0)
    floors = floors if isinstance(floors, list) else [floors] * len(rates)
    names = KNOWN[library] - {"scheduler", "optimizer", "mode", "min_lr"}
    names -= {"then_each_step"}
    given = {n: config[n] for n in names if config.get(n) is not None}
    if library == "fastai":  # It divides by its factor.
        given = {"min_delta": 0.0, "patience": 1, "factor": 10.0, **given}
        given["factor"] = 1 / given["factor"]
    preset = octl.lr.like_torch if library == "torch" else octl.lr.like_keras
    hows = []
    for rate, floor in zip(rates, floors, strict=True):
        made = preset(**given, min_lr=floor, learning_rate=rate)
        made["eps"] = made.get("eps", 0.0) * rate
        del made["nonfinite"]
        hows.append(Setting(rate=rate, mode=config.get("mode", "min"), **made))
    return hows


@functools.cache
def replayed(mode: Any) -> Any:
    @jax.jit
    def run(metrics: Any, updates: Any, **arguments: Any) -> Any:
        controller = octl.lr.plateau(
            updates, mode=mode, nonfinite="count", monitor="metric", **arguments
        )
        result = octl.replay(controller, {"metric": metrics})
        wait = updates - result.gauges["patience_left"]
        return result.decisions.lr_scale, wait, result.gauges["to_beat"]

    return run


def observed(metrics: Sequence[float], how: Setting) -> Trace:
    """Runs our controller."""
    scale, wait, to_beat = replayed(how.mode)(
        np.asarray(metrics, np.float32),
        how.updates,
        factor=how.factor,
        atol=how.atol,
        rtol=how.rtol,
        cooldown=how.cooldown,
        floor=how.floor,
        eps=how.eps / how.rate,
    )
    rate = how.rate * np.asarray(scale, np.float64)
    return Trace(rate, np.asarray(wait), np.asarray(to_beat, np.float64))


def reference(metrics: Sequence[float], how: Setting, quirks: frozenset[str]) -> Trace:
    """The rule, with the quirks of a library or without, on the same float32 values."""
    sign = 1.0 if how.mode == "min" else -1.0
    scale, best, wait, quiet = 1.0, math.inf, 0, 0
    rows = []
    for x in metrics:
        x = sign * float(np.float32(x))
        slope = sign * best if "signed margin" in quirks else abs(best)
        margin = how.atol + (how.rtol * slope if math.isfinite(best) else 0.0)
        admitted = math.isfinite(x) or "infinite best" in quirks
        improved = admitted and x < best - margin
        best, wait = (x, 0) if improved else (best, wait + 1)
        if quiet:
            quiet, wait = quiet - 1, 0
        if wait >= how.updates:
            target = max(scale * how.factor, how.floor)
            target = target if target >= TINY else 0.0  # as XLA flushes it
            moves = (scale - target) * how.rate > how.eps
            if "endless wait" not in quirks or moves:
                wait = 0
            if moves or "idle cooldown" in quirks:
                quiet = how.cooldown
            scale = target if moves else scale
        rows.append((how.rate * scale, wait, sign * (best - margin)))
    return Trace(*map(np.asarray, zip(*rows, strict=True)))


def agrees(a: Trace, b: Trace, how: Setting) -> bool:
    """Equal but for float32: one rounding for each cut, and two for the factor."""
    cuts = 1 + math.log(max(min(a.rate) / how.rate, TINY)) / math.log(how.factor)
    return bool(
        np.allclose(a.rate, b.rate, rtol=(2 * cuts + 2) * 2**-24, atol=0)
        and np.array_equal(a.wait, b.wait)
    )


def judge(case: Case) -> Verdict:
    config = case.config
    if config.get("scheduler") == "greedy":
        return _greedy.judge(case)
    used = {name for name, value in config.items() if value is not None}
    if unknown := sorted(used - KNOWN[case.library]):
        return unproven(f"unknown options {unknown}")
    after = config.get("then_each_step")
    metrics = case.inputs["metrics"]
    hows = settings(case.library, config)
    rates = np.asarray(case.expected["lr"], np.float64).reshape(len(metrics), -1)
    verdicts = []
    for how, theirs in zip(hows, rates.T, strict=True):
        wait = case.expected.get("num_bad_epochs", case.expected.get("wait"))
        verdicts.append(
            _judge(case, how, metrics, theirs / _course(after, len(metrics)), wait)
        )
    return max(verdicts, key=lambda verdict: verdict != MATCHED)


def _judge(case: Case, how: Setting, metrics: Any, rate: Any, wait: Any) -> Verdict:
    ours = observed(metrics, how)
    plain = reference(metrics, how, frozenset())
    if not agrees(ours, plain, how):
        return unproven(
            "The rule, as it is written here, gives other numbers than ours"
        )
    theirs = Trace(
        rate, plain.wait if wait is None else np.asarray(wait), plain.to_beat
    )
    if agrees(ours, theirs, how):
        return MATCHED
    quirks = list(LIBRARIES[case.library]) + ["signed margin"] * (how.rtol > 0)
    return differs(
        lambda trace: agrees(ours, trace, how),
        lambda trace: agrees(
            theirs._replace(wait=trace.wait) if wait is None else theirs, trace, how
        ),
        {name: QUIRKS[name] for name in quirks},
        functools.partial(reference, metrics, how),
    )


def _course(config: dict[str, Any] | None, steps: int) -> Any:
    """What another scheduler, stepped after the plateau, multiplies in."""
    if config is None:
        return 1.0
    factor = _torch_rules.closed(config, 1.0, frozenset())
    return np.asarray([factor(step) for step in range(1, steps + 1)])


def test_the_rate_moves_when_the_library_moves_it(
    oracles: Path, pytestconfig: pytest.Config
) -> None:
    cases = [
        Case(c["lib"], c["name"], c["config"], c["inputs"], c["expected"])
        for c in content(oracles, "learning_rate.json.gz")["cases"]
        if "metrics" in c["inputs"]
    ]
    settle(pytestconfig, cases, judge)
