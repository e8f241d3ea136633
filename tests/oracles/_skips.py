"""`watch.outlier` and `guard` against the steps that OLMo, Levanter, MaxText skip."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, unproven

TIE = 1e-5  # so near to the limit either side of it is right

QUIRKS = {
    "nan": "a NaN is remembered, and every step is skipped while it is",
    "inf": "an infinite value is remembered as if it were finite",
    "passes": "a step with a NaN is not skipped but gives a NaN update",
}


class Rule(NamedTuple):
    """When a library skips a step, in our words."""

    threshold: float
    window: int
    min_updates: int
    ddof: int
    eps: float
    passes: bool = False


def olmo(config: dict[str, Any]) -> Rule:
    window = config.get("rolling_interval_length", 128)
    return Rule(config.get("sigma_factor", 6.0), window, window // 2 - 1, 1, 0.0)


def levanter(config: dict[str, Any]) -> Rule:
    window = config.get("rolling_interval_length", 128)
    sigmas = config.get("sigma_factor", 6.0)
    return Rule(sigmas, window, window // 2 - 1, 0, 1e-6, passes=True)


def maxtext(config: dict[str, Any]) -> Rule:
    window = config.get("interval", 128)
    return Rule(config.get("scaling_factor", 6.0), window, window // 2 - 1, 1, 0.0)


RULES = {
    "olmo_skipstep": olmo,
    "levanter_skipstep": levanter,
    "maxtext_skip_step_on_spikes": maxtext,
}


def judge(case: Case, norms: Sequence[float], losses: Sequence[float]) -> Verdict:
    rule = RULES[case.library](case.config)
    ours = observed(rule, norms, losses)
    theirs = np.asarray(case.expected["step_factor"])
    factors, ties = reference(rule, norms, losses, frozenset())
    if np.any((ours != factors) & ~ties):
        return unproven("the rule, as it is written here, skips other steps than ours")
    if np.all((ours == theirs) | ties):
        return MATCHED
    quirks = {name: QUIRKS[name] for name in QUIRKS if name != "passes" or rule.passes}
    return differs(
        lambda found: bool(np.all((ours == found[0]) | found[1])),
        lambda found: bool(np.all((theirs == found[0]) | found[1])),
        quirks,
        functools.partial(reference, rule, norms, losses),
    )


def observed(rule: Rule, norms: Any, losses: Any) -> np.ndarray:
    """1 for a step that is taken, 0 for one that is refused."""
    options = rule._asdict()
    del options["passes"]
    controller = octl.skip_spikes(**options)
    signals = {
        "loss": np.asarray(losses, np.float32),
        "grad_norm": np.asarray(norms, np.float32),
    }
    run = jax.jit(lambda signals: octl.replay(controller, signals).decisions.skip)
    return 1 - np.asarray(run(signals)).astype(int)


def reference(
    rule: Rule, norms: Any, losses: Any, quirks: frozenset[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The factor of every step, and where it is a tie."""
    factors, ties = [], []
    kept: tuple[list[float], list[float]] = ([], [])
    for pair in zip(losses, norms, strict=True):
        finite = all(map(math.isfinite, pair))
        takes = [verdict(rule, x, seen) for x, seen in zip(pair, kept, strict=True)]
        passes = not finite and "passes" in quirks
        factor = int(finite and all(take for take, _ in takes))
        factors.append(-1 if passes else factor)
        ties.append(any(tie for _, tie in takes))
        for x, seen in zip(pair, kept, strict=True):
            if math.isfinite(x) or ("nan" if math.isnan(x) else "inf") in quirks:
                seen.append(x)
    return np.asarray(factors), np.asarray(ties)


def verdict(rule: Rule, x: float, seen: list[float]) -> tuple[bool, bool]:
    last = np.asarray(seen[-rule.window :], np.float64)
    if len(last) < rule.min_updates:
        return True, False
    with np.errstate(invalid="ignore"):
        std = max(last.std(ddof=rule.ddof), rule.eps)
        limit = last.mean() + rule.threshold * std
    return bool(x <= limit), bool(abs(x - limit) <= TIE * abs(limit))
