"""`stop.patience` against the early stopping of other libraries."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import optaxctl as octl
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

RULES = 5  # the issue that brings the other rules of stopping

QUIRKS = {
    "stores first": "the first value becomes the best, NaN and infinite ones too",
    "infinite best": "an infinite value can become the best",
    "free first": "the first value resets the count, NaN and infinite ones too",
    "replaces infinite": "an infinite best gives way to any value, a NaN too",
    "nan improves": "a NaN counts as an improvement, and so does all that follows",
    "loose best": "the best follows every gain, even one that is too small to count",
    "signed margin": "the relative margin best * (1 - d) has the wrong sign below zero",
}


class Library(NamedTuple):
    """How a library names and counts what `stop.patience` does."""

    updates: str = "patience"  # the name of its patience
    later_by: int = 0  # updates by which it stops later than Keras does
    delta: str = "min_delta"
    known: tuple[str, ...] = ()  # further options that are expressed below
    quirks: tuple[str, ...] = ()


LIBRARIES = {
    "lightning": Library(known=("check_finite",), quirks=("infinite best",)),
    "keras": Library(
        known=("start_from_epoch", "restore_best_weights"),
        quirks=("stores first", "infinite best"),
    ),
    "ignite": Library(
        delta="threshold",
        known=("threshold_mode", "cumulative"),
        quirks=("stores first", "infinite best", "nan improves"),
    ),
    "transformers": Library(
        delta="threshold", quirks=("free first", "infinite best", "loose best")
    ),
    "fastai": Library(quirks=("infinite best",)),
    "xgboost": Library(updates="rounds", quirks=("stores first", "infinite best")),
    "lightgbm": Library(
        updates="stopping_rounds",
        known=("modes", "first_metric_only"),
        quirks=("stores first", "infinite best"),
    ),
    "flax": Library(later_by=1, quirks=("infinite best", "replaces infinite")),
}


class Trace(NamedTuple):
    """What happened up to and including the stop."""

    stop: int | None
    wait: list[int]
    best: list[float]  # NaN and infinities stand for "none"
    reason: str = "patience"


class Setting(NamedTuple):
    """A patience, in the words of this library."""

    updates: int
    mode: str
    atol: float
    rtol: float
    start: int
    check_finite: bool


def setting(library: Library, config: dict[str, Any], mode: str) -> Setting:
    delta = abs(config.get(library.delta) or 0.0)  # as Keras does
    relative = config.get("threshold_mode") == "rel"
    return Setting(
        # Keras and Lightning take a patience of 0 for one of 1.
        updates=max(config[library.updates] + library.later_by, 1),
        mode=mode,
        atol=0.0 if relative else delta,
        rtol=delta if relative else 0.0,
        start=config.get("start_from_epoch", 0),
        check_finite=library is LIBRARIES["lightning"]
        and config.get("check_finite", True),
    )


@functools.cache
def replayed(mode: Any, check_finite: bool) -> Any:
    @jax.jit
    def run(values: Any, updates: Any, atol: Any, rtol: Any, start: Any) -> Any:
        nonfinite = "ignore" if check_finite else "count"
        wait = octl.stop.patience(
            updates, mode=mode, atol=atol, rtol=rtol, nonfinite=nonfinite
        )
        controllers = {"wait": octl.start_at(start, wait)}
        if check_finite:
            controllers["finite"] = octl.respond(
                octl.watch.nonfinite("val_loss"), stop=octl.StopReason.NONFINITE
            )
        result = octl.replay(octl.together(**controllers), {"val_loss": values})
        gauges = result.gauges
        return (
            result.decisions.stop,
            updates - gauges["wait/patience_left"],
            gauges["wait/to_beat"],
        )

    return run


def observed(values: Sequence[float], how: Setting) -> Trace:
    """Runs our controller."""
    padded = np.full(64 * math.ceil(len(values) / 64), np.nan, np.float32)
    padded[: len(values)] = values
    stops, waits, beats = replayed(how.mode, how.check_finite)(
        padded, how.updates, how.atol, how.rtol, how.start
    )
    stops = np.asarray(stops)[: len(values)]
    stop = int(np.argmax(stops != 0)) if stops.any() else None
    end = len(values) if stop is None else stop + 1
    nonfinite = stop is not None and stops[stop] & octl.StopReason.NONFINITE
    reason = "none" if stop is None else "nonfinite" if nonfinite else "patience"
    best = [float(b) for b in np.asarray(beats)[:end]]
    return Trace(stop, np.asarray(waits)[:end].tolist(), best, reason)


def reference(values: Sequence[float], how: Setting, quirks: frozenset[str]) -> Trace:
    """The rule, with the quirks of a library or without, on the same float32 values."""
    sign = 1.0 if how.mode == "min" else -1.0
    best, wait, first = math.inf, 0, True
    waits: list[int] = []
    bests: list[float] = []
    for x in values:
        x = sign * float(np.float32(x))
        if len(waits) < how.start:
            waits.append(0)
            bests.append(math.inf)
            continue
        if how.check_finite and not math.isfinite(x):
            return Trace(
                len(waits), [*waits, wait], [*bests, sign * best], reason="nonfinite"
            )
        slope = sign * best if "signed margin" in quirks else abs(best)
        margin = how.atol + (how.rtol * slope if math.isfinite(best) else 0.0)
        admitted = math.isfinite(x) or "infinite best" in quirks
        improved = admitted and x < best - margin
        if "nan improves" in quirks:
            improved = not x >= best - margin
        if "replaces infinite" in quirks:
            improved = improved or math.isinf(best)
        stored = first and "stores first" in quirks
        wait = (
            0 if improved or stored or (first and "free first" in quirks) else wait + 1
        )
        gained = "loose best" in quirks and admitted and x < best
        if improved or stored or gained:
            best = x
        first = False
        waits.append(wait)
        bests.append(sign * best)
        if wait >= how.updates:
            return Trace(len(waits) - 1, waits, bests)
    return Trace(None, waits, bests, reason="none")


def agrees(trace: Trace, how: Setting, ours: Trace) -> bool:
    """Whether a trace is ours, the best compared through the value to beat."""
    sign = 1 if how.mode == "min" else -1
    best = np.asarray(trace.best, np.float32)
    there = np.isfinite(best)
    best = np.where(there, best, 0)
    to_beat = best - sign * (how.atol + np.float32(how.rtol) * np.abs(best))
    beats = np.asarray(ours.best, np.float32)
    same = trace.stop == ours.stop and trace.wait == ours.wait
    same = same and trace.reason == ours.reason
    # Where XLA fuses the margin into the difference it rounds once, not twice.
    return same and np.allclose(
        np.where(np.isfinite(beats), beats, 0),
        np.where(there, to_beat, 0),
        rtol=2**-23,
        atol=0,
    )


def matches(trace: Trace, expected: dict[str, Any]) -> bool:
    """Whether a trace is the library's, in everything that it recorded."""
    reason = _REASONS.get(expected.get("reason", ""), trace.reason)
    if trace.stop != expected["stop_index"] or trace.reason != reason:
        return False
    if "best_iter_per_metric" in expected:  # LightGBM keeps the last best alone
        last = len(trace.wait) - 1
        found = last - trace.wait[last]
        return found == expected["best_iter_per_metric"][0] and _same(
            trace.best[-1:], expected["best"]
        )
    return trace.wait == expected.get("wait", trace.wait) and _same(
        trace.best, expected.get("best", trace.best)
    )


_REASONS = {
    "PATIENCE_EXHAUSTED": "patience",
    "NON_FINITE_METRIC": "nonfinite",
    "NOT_STOPPED": "none",
}


def _same(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    """Equal in float32, where every "none" is like the other."""
    a, b = (
        np.asarray([np.nan if v is None else v for v in x], np.float32)
        for x in (ours, theirs)
    )
    if a.shape != b.shape:
        return False
    none = ~np.isfinite(a) & ~np.isfinite(b)
    return bool(np.all(none | (a == b)))


def single(case: Case, library: Library, values: Sequence[float], mode: str) -> Verdict:
    how = setting(library, case.config, mode)
    quirks = list(library.quirks)
    if case.config.get("threshold_mode") == "rel":
        quirks.append("signed margin")
    if case.library == "ignite" and not case.config.get("cumulative", False):
        quirks.append("loose best")
    ours = observed(values, how)
    plain = reference(values, how, frozenset())
    if not agrees(plain, how, ours):
        return unproven(f"ours is {ours}, the rule says {plain}")
    if matches(plain, case.expected):
        return MATCHED
    return differs(
        lambda trace: agrees(trace, how, ours),
        lambda trace: matches(trace, case.expected),
        {name: QUIRKS[name] for name in quirks},
        functools.partial(reference, values, how),
    )


def first_of(case: Case, found: Sequence[Trace]) -> Verdict:
    """Several metrics, each with its own patience: the first to lose it stops."""
    stop = min((t.stop for t in found if t.stop is not None), default=None)
    return MATCHED if stop == case.expected["stop_index"] else unproven(f"{stop}")


def judge(case: Case, sequences: dict[str, Any]) -> Verdict:
    config, inputs = case.config, case.inputs
    library = LIBRARIES.get(case.library)
    if library is None:
        return later(RULES)
    if config.get("combine") == "any":
        hows = [setting(library, part, part["mode"]) for part in config["monitors"]]
        return first_of(case, [*map(observed, inputs["series"], hows)])
    if not only(config, ("mode", library.updates, library.delta, *library.known)):
        return later(RULES)
    if "sequences" in inputs:
        series = [sequences[name]["values"] for name in inputs["sequences"]]
        hows = [setting(library, config, mode) for mode in config["modes"]]
        found = [*map(observed, series, hows)]
        return first_of(case, found[:1] if config["first_metric_only"] else found)
    values = inputs.get("values") or sequences[inputs["sequence"]]["values"]
    return single(case, library, values, config["mode"])


def test_patience_stops_where_the_library_does(
    oracles: Path, pytestconfig: pytest.Config
) -> None:
    file = content(oracles, "early_stopping.json.gz")
    sequences = {s["id"]: s for s in file["sequences"]}
    cases = [
        Case(c["lib"], c["name"], c["config"], c["inputs"], c["expected"])
        for c in file["cases"]
    ]
    settle(pytestconfig, cases, lambda case: judge(case, sequences))
