"""Optuna's pruners of single trials, said in our words."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, only, unproven

STEPS = 64  # the longest series
QUIRKS = {
    "waits for a number": "while its window holds nothing but NaN it never prunes",
    "infinite best": "an infinite value can become the best",
}


def judge(case: Case, sequences: dict[str, Any]) -> Verdict:
    """A pruner must stop a trial at the step at which it prunes it."""
    config = dict(case.config)
    pruner, sign = config.pop("pruner"), 1 if config.pop("mode") == "min" else -1
    values = case.inputs.get("values") or sequences[case.inputs["sequence"]]["values"]
    expected = case.expected["stop_index"]
    if pruner == "ThresholdPruner" and only(config, BOUNDS):
        stop = stopped(threshold(*(config[name] for name in BOUNDS)), values)
        return MATCHED if stop == expected else unproven(f"{stop}, not {expected}")
    if pruner != "PatientPruner" or not only(config, ("patience", "min_delta")):
        return Verdict("not applicable", f"{pruner} compares trials with each other")
    updates, delta = config["patience"] + 1, config["min_delta"]
    series = [sign * x for x in values]
    stop = stopped(patient(updates, delta), series)
    rule = functools.partial(reference, series, updates, delta)
    if stop != rule(frozenset()):
        return unproven(f"ours is {stop}, the rule says {rule(frozenset())}")
    if stop == expected:
        return MATCHED
    return differs(lambda at: at == stop, lambda at: at == expected, QUIRKS, rule)


BOUNDS = ("n_warmup_steps", "lower", "upper")


@functools.cache
def threshold(start: int, lower: float, upper: float) -> Any:
    return replayed(
        octl.after(
            start,
            octl.stop.any_of(
                upper=octl.stop.limit(upper),
                lower=octl.stop.limit(lower, mode="max"),
                nan=octl.stop.nonfinite(),
            ),
        )
    )


@functools.cache
def patient(updates: int, delta: float) -> Any:
    """Stops once so many values in a row are worse than the best by more than delta."""

    def rule(epoch: Any, metric: Any, past: octl.stop.Past) -> Any:
        best = jnp.nanmin(past.history, initial=jnp.inf)
        good = jnp.isfinite(metric) & (metric <= best + delta)
        worse = jnp.where(good, 0, past.counter + 1)
        return worse >= updates, worse

    return replayed(octl.stop.custom(rule, window=STEPS))


def replayed(controller: octl.Controller) -> Any:
    run = lambda x: octl.replay(controller, {"val_loss": x}).decisions.stop
    return jax.jit(run)


def stopped(run: Any, values: Sequence[float]) -> int | None:
    padded = np.full(STEPS, np.nan, np.float32)
    padded[: len(values)] = values
    up = np.asarray(run(padded))[: len(values)] != 0
    return int(up.argmax()) if up.any() else None


def reference(
    values: Sequence[float], updates: int, delta: float, quirks: frozenset[str]
) -> int | None:
    """Where a trial ends whose last values are all worse than the best before."""
    usable = (
        (lambda x: not math.isnan(x)) if "infinite best" in quirks else math.isfinite
    )
    for i in range(updates - 1, len(values)):
        start = i - updates + 1
        before = [x for x in values[:start] if usable(x)]
        recent = [x for x in values[start : i + 1] if usable(x)]
        if "waits for a number" in quirks and not (before and recent):
            continue
        if not recent or min(before, default=math.inf) + delta < min(recent):
            return i
    return None
