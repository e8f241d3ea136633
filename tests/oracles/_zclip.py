"""`clip.zscore` against ZClip."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import (
    MATCHED,
    Case,
    Verdict,
    differs,
    unproven,
)

EPS = 1e-6  # what torch adds to the norm when it clips

# Float32 against float64. Each update of a running mean rounds three times, by 2^-24 of
# it at most, and forgets over 1 / (1 - 0.97) updates.
RTOL = 100 * 2**-24
TIE = 1e-5  # so near to the threshold either side of it is right

QUIRKS = {
    "nan": "one NaN enters the mean, and nothing is clipped ever after",
    "inf": "an infinite norm enters the statistics as if it were finite",
    "skips": "a spike whose step is skipped does not enter the statistics at all",
}


class Setting(NamedTuple):
    """The z-score clipping, in the words of this library."""

    threshold: float
    decay: float
    warmup_updates: int
    limit: str
    limit_factor: float
    max_norm: float
    eps: float


class Trace(NamedTuple):
    """The limit of every step, infinite where there is none, and what it rests on."""

    limit: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    z: np.ndarray


def setting(config: dict[str, Any]) -> Setting:
    percentile = config.get("mode") == "percentile"
    mean = config.get("clip_option") == "mean"
    limit = "threshold" if percentile else "mean" if mean else "adaptive"
    return Setting(
        threshold=config.get("z_thresh", 2.5),
        decay=config.get("alpha", 0.97),
        warmup_updates=config.get("warmup_steps", 25),
        limit=limit,
        limit_factor=1.0 if limit != "adaptive" else config.get("clip_factor", 1.0),
        max_norm=config.get("max_grad_norm", 1.0) or math.inf,
        eps=0.0 if percentile else config.get("eps", 1e-6),
    )


def observed(norms: Sequence[float], how: Setting) -> Trace:
    """Runs our controller, with no other limit than that of the outliers."""
    controller = octl.clip.zscore(**how._replace(max_norm=math.inf)._asdict())

    @jax.jit
    def run(norms: Any) -> Any:
        result = octl.replay(controller, {"grad_norm": norms})
        gauges = result.gauges
        return result.decisions.clip_norm, gauges["norm_mean"], gauges["norm_std"] ** 2

    found = [np.asarray(x, np.float64) for x in run(np.asarray(norms, np.float32))]
    return Trace(*found, z=np.zeros(len(norms)))


def reference(norms: Sequence[float], how: Setting, quirks: frozenset[str]) -> Trace:
    """ZClip's rule, with its quirks or without, in float64."""
    first: list[float] = []
    mean = var = math.nan
    rows = []
    for n in norms:
        limit, z = math.inf, 0.0
        enters = math.isfinite(n) or ("nan" if math.isnan(n) else "inf") in quirks
        if len(first) < how.warmup_updates:
            first += [n] * enters
            if len(first) == how.warmup_updates:
                mean, var = float(np.mean(first)), float(np.var(first))
        elif enters:
            std = math.sqrt(var)
            spread = std + how.eps
            z = (n - mean) / spread if spread else math.inf * (n - mean)
            if z > how.threshold:
                limit = {
                    "adaptive": how.limit_factor * (mean + how.threshold**2 * std / z),
                    "mean": mean,
                    "threshold": mean + how.threshold * std,
                }[how.limit]
            if limit < math.inf and "skips" in quirks:
                rows.append((limit, mean, var, z))
                continue
            x = min(n, limit)
            mean = how.decay * mean + (1 - how.decay) * x
            var = how.decay * var + (1 - how.decay) * (x - mean) ** 2
        rows.append((limit, mean, var, z))
    return Trace(*map(np.asarray, zip(*rows, strict=True)))


def agrees(ours: Trace, theirs: Trace, how: Setting) -> bool:
    """The same steps are clipped, ties aside, and the numbers are those of float32."""
    clips = np.isfinite(ours.limit), np.isfinite(theirs.limit)
    tie = np.abs(theirs.z - how.threshold) <= TIE * how.threshold
    both = clips[0] & clips[1]
    known = ~np.isnan(theirs.mean)
    known[: how.warmup_updates - 1] = False
    spread = np.sqrt(theirs.var)
    return bool(
        np.all((clips[0] == clips[1]) | tie)
        and np.allclose(ours.limit[both], theirs.limit[both], rtol=RTOL, atol=0)
        and np.allclose(ours.mean[known], theirs.mean[known], rtol=RTOL, atol=0)
        and np.array_equal(np.isnan(ours.mean[known]), np.isnan(theirs.mean[known]))
        and np.all(
            np.abs(ours.var - theirs.var)[known]
            <= (RTOL * (theirs.var + 2 * spread * theirs.mean))[known]
        )
    )


def recorded(expected: dict[str, Any], length: int) -> Trace:
    """The library's own trace; "none" is an infinite limit and a NaN mean."""
    limit = [math.inf if v is None else v for v in expected["adaptive_threshold"]]
    mean, var = (
        [math.nan if v is None else v for v in expected[name]]
        for name in ("ema_mean_after", "ema_var_after")
    )
    return Trace(*map(np.asarray, (limit, mean, var)), z=np.zeros(length))


def judge(case: Case, norms: Sequence[float]) -> Verdict:
    how = setting(case.config)
    ours = observed(norms, how)
    plain = reference(norms, how, frozenset())
    if not agrees(ours, plain, how):
        return unproven(
            "The rule, as it is written here, gives other numbers than ours"
        )
    theirs = recorded(case.expected, len(norms))

    def is_theirs(trace: Trace) -> bool:
        # They are printed with nine digits.
        same = functools.partial(np.allclose, rtol=1e-8, atol=0, equal_nan=True)
        limit = np.minimum(trace.limit, how.max_norm)
        n = np.asarray(norms)
        with np.errstate(invalid="ignore"):
            clipped = np.where(n > limit, n * (limit / (n + EPS)), n)
        at = slice(how.warmup_updates - 1, None)
        return bool(
            same(trace.limit, theirs.limit)
            and same(trace.mean[at], theirs.mean[at])
            and same(trace.var[at], theirs.var[at])
            and same(clipped, case.expected["clipped_norm"])
        )

    if is_theirs(plain):
        return MATCHED
    skips = case.config.get("skip_update_on_spike", False)
    quirks = {k: v for k, v in QUIRKS.items() if k != "skips" or skips}
    return differs(
        lambda trace: agrees(ours, trace, how),
        is_theirs,
        quirks,
        functools.partial(reference, norms, how),
    )
