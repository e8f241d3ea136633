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
from tests.oracles import _greedy
from tests.oracles._cases import (
    MATCHED,
    Case,
    Verdict,
    content,
    differs,
    later,
    only,
    settle,
    unproven,
)

TINY = float(np.finfo(np.float32).tiny)
REACTIVE = 4  # the issue that brings the other reactive rates

QUIRKS = {
    "infinite best": "an infinite value can become the best",
    "signed margin": "the relative margin best * (1 - d) has the wrong sign below zero",
    "eps": "a cut by less than eps is not made, so the rate stays above the floor",
    "idle cooldown": "a cut that the floor refuses starts a cooldown",
    "endless wait": "a cut that the floor refuses does not end the wait",
}
LIBRARIES = {
    "torch": ("infinite best", "eps", "idle cooldown"),
    "keras": ("infinite best", "endless wait"),
    "fastai": ("infinite best",),
}
KNOWN = {
    "torch": (
        *("scheduler", "optimizer", "mode", "factor", "patience", "threshold"),
        *("threshold_mode", "cooldown", "min_lr", "eps", "then_each_step"),
    ),
    "keras": (
        *("optimizer", "mode", "factor", "patience", "min_delta"),
        *("cooldown", "min_lr"),
    ),
    "fastai": ("optimizer", "mode", "factor", "patience", "min_delta", "min_lr"),
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
    factor, patience = config.get("factor", 0.1), config.get("patience", 10)
    cooldown, eps = config.get("cooldown", 0), 0.0
    relative = library == "torch" and config.get("threshold_mode", "rel") == "rel"
    if library == "torch":
        patience += 1
        delta = config.get("threshold", 1e-4)
        eps = config.get("eps", 1e-8)
    elif library == "keras":
        delta = config.get("min_delta", 1e-4)
        cooldown = max(cooldown - 1, 0)  # Keras counts in the last update of it
    else:
        delta = config.get("min_delta", 0.0)
        factor = 1 / factor  # fastai divides
    return [
        Setting(
            rate=rate,
            updates=max(patience, 1),
            factor=factor,
            mode=config.get("mode", "min"),
            atol=0.0 if relative else delta,
            rtol=delta if relative else 0.0,
            cooldown=cooldown,
            floor=min(floor / rate, 1.0),
            eps=eps,
        )
        for rate, floor in zip(rates, floors, strict=True)
    ]


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
            moves = target < scale
            if "endless wait" not in quirks or moves:
                wait = 0
            if moves or "idle cooldown" in quirks:
                quiet = how.cooldown
            small = (scale - target) * how.rate <= how.eps and "eps" in quirks
            scale = target if moves and not small else scale
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
    if case.library not in KNOWN or not only(config, KNOWN[case.library]):
        return later(REACTIVE)
    ramp = config.get("then_each_step")
    if ramp and ramp["scheduler"] != "LinearLR":
        return later(REACTIVE)
    metrics = case.inputs["metrics"]
    hows = settings(case.library, config)
    rates = np.asarray(case.expected["lr"], np.float64).reshape(len(metrics), -1)
    verdicts = []
    for how, theirs in zip(hows, rates.T, strict=True):
        wait = case.expected.get("num_bad_epochs", case.expected.get("wait"))
        verdicts.append(
            _judge(case, how, metrics, theirs / _ramp(ramp, len(metrics)), wait)
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


def _ramp(config: dict[str, Any] | None, steps: int) -> Any:
    """A linear ramp that a schedule multiplies in, stepped after the plateau."""
    if config is None:
        return 1.0
    one = lambda step: np.float32(1)
    start, length = config["start_factor"], config["total_iters"]
    ramp = octl.schedules.warmup(one, length, init_value=start)
    return np.asarray(ramp(np.arange(1, steps + 1)), np.float64)


def test_the_rate_moves_when_the_library_moves_it(
    oracles: Path, pytestconfig: pytest.Config
) -> None:
    cases = [
        Case(c["lib"], c["name"], c["config"], c["inputs"], c["expected"])
        for c in content(oracles, "learning_rate.json.gz")["cases"]
        if "metrics" in c["inputs"]
    ]
    settle(pytestconfig, cases, judge)
