"""The early stopping of other libraries, once more and in plain Python."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

QUIRKS = {
    "stores first": "the first value becomes the best, NaN and infinite ones too",
    "infinite best": "an infinite value can become the best",
    "replaces infinite": "an infinite best gives way to any value, a NaN too",
    "nan improves": "a NaN counts as an improvement, and so does all that follows",
    "signed margin": "the relative margin best * (1 - d) has the wrong sign below zero",
}


class Trace(NamedTuple):
    """What happened up to and including the stop."""

    stop: int | None
    wait: list[int]
    best: list[float]  # NaN and infinities stand for "none"
    reason: str = "none"


class Rule(NamedTuple):
    """A library's early stopping."""

    updates: int
    mode: str = "min"
    atol: float = 0.0
    rtol: float = 0.0
    cumulative: bool = True
    baseline: float | None = None
    start: int = 0
    first: bool = False
    finite: bool = False
    reached: float | None = None
    beyond: float | None = None


def reference(rule: Rule, values: Sequence[float], quirks: frozenset[str]) -> Trace:
    """What the rule does with some quirks of a library, on the same float32 values."""
    sign = 1.0 if rule.mode == "min" else -1.0
    best, wait, stop, reason = math.inf, 0, None, "none"
    waits: list[int] = []
    bests: list[float] = []
    f32 = lambda x: float(np.float32(x))

    def improves(x: float, level: float) -> bool:
        slope = sign * level if "signed margin" in quirks else abs(level)
        bar = level - (rule.atol + (rule.rtol * slope if math.isfinite(level) else 0.0))
        if "replaces infinite" in quirks and math.isinf(level):
            return True
        if "infinite best" not in quirks and not math.isfinite(x):
            return "nan improves" in quirks and math.isnan(x)
        return not x >= bar if "nan improves" in quirks else x < bar

    for t, x in enumerate(sign * f32(value) for value in values):
        if t >= rule.start:
            if rule.finite and not math.isfinite(x):
                stop, reason = t, "nonfinite"
            elif rule.reached is not None and x < sign * f32(rule.reached):
                stop, reason = t, "reached"
            elif rule.beyond is not None and x > sign * f32(rule.beyond):
                stop, reason = t, "beyond"
            else:
                better = improves(x, best)
                stored = t == rule.start and "stores first" in quirks
                gains = better or (t == rule.start and rule.first)
                resets = gains
                if rule.baseline is not None:
                    level = sign * f32(rule.baseline)
                    resets = resets and x < level - rule.atol - rule.rtol * abs(level)
                wait = 0 if resets else wait + 1
                admitted = math.isfinite(x) or "infinite best" in quirks
                follows = not rule.cumulative and admitted and x < best
                if better or stored or follows:
                    best = x
                if wait >= rule.updates and not gains:
                    stop, reason = t, "patience"
        waits.append(wait)
        bests.append(sign * best)
        if stop is not None:
            break
    return Trace(stop, waits, bests, reason)


def same(trace: Trace, other: Trace) -> bool:
    """Whether two traces are one, where every "none" is like the other."""
    ours, theirs = (np.asarray(t.best, np.float32) for t in (trace, other))
    if trace._replace(best=[]) != other._replace(best=[]):
        return False
    return bool(np.all((ours == theirs) | (~np.isfinite(ours) & ~np.isfinite(theirs))))


def matches(trace: Trace, expected: dict[str, Any]) -> bool:
    """Whether a trace is the library's, in everything that it recorded."""
    reasons = _REASONS.get(expected.get("reason", ""), {trace.reason})
    if trace.stop != expected["stop_index"] or trace.reason not in reasons:
        return False
    if "improved" in expected:
        gained = [int(wait == 0) for wait in trace.wait]
        if gained != [int(x) for x in expected["improved"]]:
            return False
    if "best_iter_per_metric" in expected:  # LightGBM keeps the last best alone
        last = len(trace.wait) - 1
        found = last - trace.wait[last]
        alone = Trace(None, [], trace.best[-1:])
        theirs = Trace(None, [], _numbers(expected["best"]))
        return found == expected["best_iter_per_metric"][0] and same(alone, theirs)
    waits = expected.get("wait", trace.wait)
    bests = expected.get("best", trace.best)
    theirs = trace._replace(wait=waits, best=_numbers(bests))
    return len(bests) == len(trace.best) and same(trace, theirs)


_REASONS = {
    "PATIENCE_EXHAUSTED": {"patience"},
    "NON_FINITE_METRIC": {"nonfinite"},
    "STOPPING_THRESHOLD": {"reached"},
    "DIVERGENCE_THRESHOLD": {"beyond"},
    "DIVERGENCE_THRESHOLD_OR_PATIENCE": {"beyond", "patience"},
    "NOT_STOPPED": {"none"},
}


def _numbers(values: Sequence[Any]) -> list[float]:
    return [math.nan if value is None else value for value in values]
