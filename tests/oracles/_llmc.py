"""`watch.outlier` against the z-scores of llm.c."""

import functools
import math
from collections.abc import Sequence

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, only, unproven

TOLERANCE = 1e-5  # float32 against float64; a z is of the order of 1
ROUNDINGS = 3  # of the value, the mean and their difference, each by 2^-24 of the value

QUIRKS = {
    "nan": "a NaN enters the running sums, and every later score is NaN",
    "inf": "an infinite value enters the running sums, and every later score is NaN",
    "sums": "running sums keep what a huge value has rounded away",
}


def judge(case: Case, values: Sequence[float]) -> Verdict:
    if not only(case.config, {"window"}):
        return unproven(f"unknown options in {case.config}")
    window = case.config.get("window", 128)
    ours, theirs = observed(window, values), np.asarray(case.expected["z"])
    finite = np.isfinite(np.asarray(values))
    rule = functools.partial(reference, window, values)

    unsure = rounding(window, values)

    def is_ours(z: np.ndarray) -> bool:
        close = np.abs(ours - z) <= TOLERANCE * (1 + np.abs(z)) + unsure
        return bool(np.all((close | (np.isnan(ours) & np.isnan(z)))[finite]))

    def is_theirs(z: np.ndarray) -> bool:
        return np.allclose(z, theirs, rtol=1e-6, atol=1e-8, equal_nan=True)

    plain = rule(frozenset())
    if not is_ours(plain):
        return unproven("the rule, as it is written here, gives other scores than ours")
    return MATCHED if is_theirs(plain) else differs(is_ours, is_theirs, QUIRKS, rule)


def observed(window: int, values: Sequence[float]) -> np.ndarray:
    """Our score of each value among those before it, made one among all of them.

    With m = window - 1 values before it, theirs is z * sqrt(m / (window + z^2)), which
    never exceeds sqrt(m). It is silent until it has seen a whole window.
    """
    before = window - 1
    watcher = octl.watch.outlier(window=before, min_updates=before, ddof=0)
    run = jax.jit(lambda x: octl.replay(watcher, {"loss": x}).gauges["z"])
    z = np.asarray(run(np.asarray(values, np.float32)), np.float64)
    with np.errstate(divide="ignore"):
        among = np.sign(z) * np.sqrt(before / (1 + window / z**2))
    seen = np.cumsum(np.isfinite(np.asarray(values)))
    return np.where(seen > window, among, math.nan)


def rounding(window: int, values: Sequence[float]) -> np.ndarray:
    """What float32 rounds away of each value, in deviations of its window."""
    kept: list[float] = []
    unsure = []
    for x in values:
        kept += [x] if math.isfinite(x) else []
        std = np.std(kept[-window:]) if kept else 0.0
        unsure.append(ROUNDINGS * 2**-24 * abs(x) / std if std else 0.0)
    return np.asarray(unsure)


def reference(
    window: int, values: Sequence[float], quirks: frozenset[str]
) -> np.ndarray:
    """The rule of llm.c, with its quirks or without, in float64."""
    kept: list[float] = []
    total = squares = 0.0
    scores = []
    for x in values:
        if not math.isfinite(x) and ("nan" if math.isnan(x) else "inf") not in quirks:
            scores.append(math.nan)
            continue
        full = len(kept) >= window
        oldest = kept[-window] if full else 0.0
        kept.append(x)
        total = total - oldest + x
        squares = squares - oldest * oldest + x * x
        if not full:
            scores.append(math.nan)
        elif "sums" in quirks or not math.isfinite(total):
            mean = total / window
            scores.append(score(x, mean, squares / window - mean * mean))
        else:
            last = np.asarray(kept[-window:])
            scores.append(score(x, float(last.mean()), float(last.var())))
    return np.asarray(scores)


def score(x: float, mean: float, var: float) -> float:
    if var < 0 or math.isnan(var):
        return math.nan
    return (x - mean) / math.sqrt(var) if var else 0.0
