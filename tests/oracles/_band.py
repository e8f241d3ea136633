"""`clip.band` against the gradient clipping of traiNNer-redux."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, only, unproven

RTOL = 1e-5
CALIBRATION = 20  # norms that choose a setting
FACTOR, CLIP_RATE, SLACK, WINDOW, RECENT = 1.2, 0.1, 0.2, 100, 20

QUIRKS = {
    "eager": "the first norm after the calibration may change the threshold; here a "
    "change needs as many norms as lie between two",
    "run": "the clip rate is that of the whole run, so the threshold rises long after; "
    "here it is that of the window",
    "lift": "one norm above 0.8 of the threshold lifts it to 1.1 times that norm; here "
    "it rises by its factor, when it clips too often",
    "recent": "the mean is that of the last 20 norms; here it is that of the window",
    "down": "the threshold falls to 0.8 of itself; here by the factor that it rises by",
    "nan": "a NaN enters the means, and the threshold does not fall while it is kept",
    "inf": "an infinite norm counts as clipped and lifts the threshold to its bound",
}


class Setting(NamedTuple):
    """What the calibration chooses: there is nothing to configure."""

    initial: float
    floor: float
    ceil: float
    updates: int


def calibrated(norms: Sequence[float]) -> Setting:
    first = np.asarray(norms[:CALIBRATION])
    with np.errstate(invalid="ignore"):
        rough = first.var(ddof=1) > 0.001 or first.mean() > 0.1
    return Setting(0.8, 0.05, 8.0, 76) if rough else Setting(1.0, 0.1, 5.0, 51)


def judge(case: Case, norms: Sequence[float]) -> Verdict:
    if not only(case.config, {"enabled"}):
        return unproven(f"unknown options in {case.config}")
    how, later = calibrated(norms), norms[CALIBRATION:]
    ours = observed(how, later)
    before = [1.0] * (CALIBRATION - 1) + [how.initial]
    theirs = np.asarray(case.expected["threshold_after"])
    rule = functools.partial(reference, how, norms)
    is_ours = lambda found: np.allclose(ours, found, rtol=RTOL, atol=0)
    is_theirs = lambda found: np.allclose(theirs, [*before, *found], rtol=1e-6, atol=0)
    plain = rule(frozenset())
    if not is_ours(plain):
        return unproven(
            "the rule, as it is written here, gives other thresholds than ours"
        )
    return MATCHED if is_theirs(plain) else differs(is_ours, is_theirs, QUIRKS, rule)


def observed(how: Setting, norms: Sequence[float]) -> np.ndarray:
    clip = octl.clip.band(
        factor=FACTOR,
        clip_rate=CLIP_RATE,
        slack=SLACK,
        window=WINDOW,
        **how._asdict(),
    )
    run = jax.jit(lambda x: octl.replay(clip, {"grad_norm": x}).decisions.clip_norm)
    return np.asarray(run(np.asarray(norms, np.float32)), np.float64)


def reference(how: Setting, norms: Any, quirks: frozenset[str]) -> np.ndarray:
    """The threshold after every norm that follows the calibration."""
    seen, kept = list(norms[:CALIBRATION]), []
    threshold, clipped = how.initial, 0
    wait = 0 if "eager" in quirks else how.updates - 1
    thresholds = []
    for n in norms[CALIBRATION:]:
        if math.isfinite(n) or ("nan" if math.isnan(n) else "inf") in quirks:
            seen, kept = [*seen, n], [*kept, n]
            clipped += n > threshold
            if wait:
                wait -= 1
            else:
                new = adjusted(how, threshold, seen, kept, clipped, quirks)
                wait = how.updates - 1 if new != threshold else 0
                threshold = new
        thresholds.append(threshold)
    return np.asarray(thresholds)


def adjusted(
    how: Setting,
    threshold: float,
    seen: list[float],  # with those of the calibration
    kept: list[float],
    clipped: int,
    quirks: frozenset[str],
) -> float:
    window, recent = kept[-WINDOW:], seen[-RECENT:]
    now = sum(n > threshold for n in window) / len(window)
    rate = clipped / len(kept) if "run" in quirks else now
    mean = np.mean(recent if "recent" in quirks else window)
    if rate > CLIP_RATE:
        return min(how.ceil, threshold * FACTOR)
    if mean < SLACK * threshold:
        less = 0.8 if "down" in quirks else 1 / FACTOR
        return max(how.floor, threshold * less)
    if "lift" in quirks and max(recent) > 0.8 * threshold:
        return min(how.ceil, 1.1 * max(recent))
    return threshold
