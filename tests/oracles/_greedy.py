"""`lr.greedy` against the GreedyLR of Transformers."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, unproven

QUIRKS = {
    "signed margin": "the relative margin best * (1 - d) has the wrong sign below zero",
    "infinite best": "an infinite value can become the best",
    "poisoned mean": "a NaN or infinite value stays in the running mean for ever",
    "eps": "a change by less than eps is not made, so the rate stays off its bound",
    "idle rest": "a change that a bound refuses starts a cooldown or a warm-up",
}


class Setting(NamedTuple):
    """GreedyLR in the words of this library, and its absolute rates."""

    rate: float
    updates: int
    factor: float
    mode: str
    atol: float
    rtol: float
    window: int
    cooldown: int
    warmup: int
    floor: float
    ceil: float
    restart_after: int
    eps: float


class Trace(NamedTuple):
    """What holds right after each metric."""

    rate: np.ndarray
    good: np.ndarray
    bad: np.ndarray


def setting(config: dict[str, Any]) -> Setting:
    rate = config["optimizer"]["lr"]
    relative = config.get("threshold_mode", "abs") == "rel"
    delta = config.get("threshold", 1e-6)
    return Setting(
        rate=rate,
        updates=config.get("patience", 10) + 1,
        factor=config.get("factor", 0.95),
        mode=config.get("mode", "min"),
        atol=0.0 if relative else delta,
        rtol=delta if relative else 0.0,
        window=config.get("window_size", 50) if config.get("smooth") else 1,
        cooldown=config.get("cooldown", 0),
        warmup=config.get("warmup", 0),
        floor=min(config.get("min_lr", 1e-3) / rate, 1.0),
        ceil=max(config.get("max_lr", 1.0) / rate, 1.0),
        restart_after=config.get("reset_start", 500),
        eps=config.get("eps", 1e-8),
    )


@functools.cache
def replayed(how: Setting) -> Any:
    options = how._asdict()
    del options["rate"], options["eps"]
    controller = octl.lr.greedy(**options, monitor="metric", nonfinite="count")

    @jax.jit
    def run(metrics: Any) -> Any:
        result = octl.replay(controller, {"metric": metrics})
        gauges = result.gauges
        return result.decisions.lr_scale, gauges["good"], gauges["bad"]

    return run


def observed(metrics: Sequence[float], how: Setting) -> Trace:
    scale, good, bad = map(np.asarray, replayed(how)(np.asarray(metrics, np.float32)))
    return Trace(how.rate * scale.astype(np.float64), good, bad)


def reference(metrics: Sequence[float], how: Setting, quirks: frozenset[str]) -> Trace:
    """The rule, with the quirks of the library or without."""
    sign = 1.0 if how.mode == "min" else -1.0
    scale, best = 1.0, math.inf
    good = bad = quiet = floored = 0
    seen: list[float] = []
    rows = []
    for x in metrics:
        usable = math.isfinite(x) or "poisoned mean" in quirks
        seen += [x] if usable else []
        y = sign * float(np.mean(seen[-how.window :])) if usable else math.nan
        if "poisoned mean" in quirks and not all(map(math.isfinite, seen)):
            y = math.nan if how.window > 1 else sign * x
        if quiet:
            quiet, good, bad = quiet - 1, 0, 0
        else:
            known = math.isfinite(best)
            slope = sign * best if "signed margin" in quirks else abs(best)
            margin = how.atol + (how.rtol * slope if known else 0.0)
            admitted = math.isfinite(y) or "infinite best" in quirks
            if admitted and y < best - margin:
                best, good, bad = y, good + 1, 0
            else:
                good, bad = 0, bad + 1
            raises, cuts = good >= how.updates, bad >= how.updates
            if raises or cuts:
                factor = 1 / how.factor if raises else how.factor
                target = min(max(scale * factor, how.floor), how.ceil)
                small = abs(target - scale) * how.rate <= how.eps and "eps" in quirks
                if target != scale or "idle rest" in quirks:
                    quiet = how.warmup if raises else how.cooldown
                scale = scale if small else target
                good, bad = (0, bad) if raises else (good, 0)
                floored = 0 if raises else floored + (scale <= how.floor * (1 + 1e-12))
                if floored >= how.restart_after:
                    scale, best = 1.0, math.inf
                    good = bad = quiet = floored = 0
                    seen = []
        rows.append((how.rate * scale, good, bad))
    return Trace(*map(np.asarray, zip(*rows, strict=True)))


def agrees(a: Trace, b: Trace) -> bool:
    return bool(
        np.allclose(a.rate, b.rate, rtol=1e-5, atol=0)
        and np.array_equal(a.good, b.good)
        and np.array_equal(a.bad, b.bad)
    )


def judge(case: Case) -> Verdict:
    how, metrics = setting(case.config), case.inputs["metrics"]
    ours = observed(metrics, how)
    if not agrees(ours, reference(metrics, how, frozenset())):
        return unproven("the rule, as it is written here, gives other rates than ours")
    good, bad, *_ = np.asarray(case.expected["good_bad_cool_warm"]).T
    theirs = Trace(np.asarray(case.expected["lr"], np.float64), good, bad)
    if agrees(ours, theirs):
        return MATCHED
    return differs(
        functools.partial(agrees, ours),
        functools.partial(agrees, theirs),
        QUIRKS,
        functools.partial(reference, metrics, how),
    )
