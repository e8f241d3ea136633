"""`clip.quantile` and `clip.history` against AutoClip and Levanter."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, unproven

RTOL = 1e-5  # float32 against float64, after sums over a window

QUIRKS = {
    "nan": "a NaN norm is remembered, and makes NaN of gradients while it is",
    "inf": "an infinite norm is remembered as if it were finite",
    "no mean": "the limit is twice the deviation alone, and NaN after one norm",
}
EPS = 1e-6  # what torch adds to the norm when it clips

Rule = Callable[[Sequence[float], frozenset[str]], list[float]]


class Adapter(NamedTuple):
    """A library in our words, and its own rule written down again."""

    controller: octl.Controller
    rule: Rule
    leaves: Callable[[Any, Any], Any]  # what a limit leaves of a norm
    digits: float  # to which it prints them


def by_torch(n: Any, limit: Any) -> Any:
    return n * np.minimum(1, limit / (n + EPS))


def by_levanter(n: Any, limit: Any) -> Any:
    return np.where(n > limit, limit, n)


def autoclip(config: dict[str, Any]) -> Adapter:
    """The whole history, the current norm included."""
    level = config["clip_percentile"] / 100
    ours = octl.clip.quantile(level, window=10_000, current=True)
    rule = windowed(10_000, 1, lambda seen, _: np.percentile(seen, level * 100), True)
    return Adapter(ours, rule, by_torch, 1e-8)


def quantile_clip(
    config: dict[str, Any],
) -> Adapter:
    level, window = config.get("quantile", 0.9), config.get("history_length", 1000)
    ours = octl.clip.quantile(level, window=window)
    rule = windowed(window, 1, lambda seen, _: np.quantile(seen, level))
    return Adapter(ours, rule, by_torch, 1e-8)


def levanter(config: dict[str, Any]) -> Adapter:
    window = config.get("rolling_interval_length", 128)
    sigmas = config.get("sigma_factor", 3.0)
    ours = octl.clip.history(sigmas, window=window, min_updates=window // 2)
    limit = lambda seen, _: np.mean(seen) + sigmas * max(np.std(seen), 1e-6)
    rule = windowed(window, window // 2, limit)
    return Adapter(ours, rule, by_levanter, 1e-6)  # it keeps the norms in float32


def standard_clip(config: dict[str, Any]) -> Adapter:
    """Its limit is a deviation from nothing; ours is one from the mean."""
    window = config.get("history_length", 1000)
    ours = octl.clip.history(2.0, window=window, min_updates=1, eps=0.0)

    def limit(seen: Any, quirks: frozenset[str]) -> Any:
        alone = len(seen) == 1
        if "no mean" in quirks:
            return math.nan if alone else 2 * np.std(seen, ddof=1)
        return np.mean(seen) + 2 * np.std(seen)

    return Adapter(ours, windowed(window, 1, limit), by_torch, 1e-8)


ADAPTERS = {
    "autoclip_pseeth": autoclip,
    "autoclip_pypi_QuantileClip": quantile_clip,
    "autoclip_pypi_StandardClip": standard_clip,
    "levanter_clip_update_by_historical_norm": levanter,
}


def windowed(
    window: int,
    least: int,
    limit: Callable[[Any, frozenset[str]], Any],
    current: bool = False,
) -> Rule:
    """The rule of them all: a limit from the last norms."""

    def rule(norms: Sequence[float], quirks: frozenset[str]) -> list[float]:
        kept: list[float] = []
        limits = []
        for n in norms:
            enters = math.isfinite(n) or ("nan" if math.isnan(n) else "inf") in quirks
            seen = [*kept, n] if current and enters else kept
            last = seen[-window:]
            with np.errstate(invalid="ignore"):
                limits.append(
                    float(limit(last, quirks)) if len(last) >= least else math.inf
                )
            kept += [n] if enters else []
        return limits

    return rule


def judge(case: Case, norms: Sequence[float]) -> Verdict:
    controller, rule, leaves, digits = ADAPTERS[case.library](case.config)
    found = jax.jit(lambda x: octl.replay(controller, {"grad_norm": x}))(
        np.asarray(norms, np.float32)
    )
    ours = np.asarray(found.decisions.clip_norm, np.float64)
    finite = np.isfinite(np.asarray(norms))

    def is_ours(limits: Any) -> bool:
        return np.allclose(ours[finite], np.asarray(limits)[finite], rtol=RTOL, atol=0)

    def is_theirs(limits: Any) -> bool:
        close = functools.partial(np.allclose, rtol=digits, atol=0, equal_nan=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            left = leaves(np.asarray(norms, np.float64), np.asarray(limits))
        printed = case.expected.get("threshold", limits)
        return close(limits, printed) and close(left, case.expected["clipped_norm"])

    plain = rule(norms, frozenset())
    if not is_ours(plain):
        return unproven("the rule, as it is written here, gives other limits than ours")
    if is_theirs(plain):
        return MATCHED
    return differs(is_ours, is_theirs, QUIRKS, functools.partial(rule, norms))
