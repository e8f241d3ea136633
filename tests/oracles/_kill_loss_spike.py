"""`lasting` and `watch.excess` against llm-foundry's `KillLossSpike`."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, only, unproven

TIE = 1e-5  # so near to the limit either side of it is right

QUIRKS = {
    "high": "HighLossError bounds the loss by the largest of the first window; here a "
    "loss is compared with its own past only",
    "nan": "a NaN enters the mean, and no loss is an outlier while it is remembered",
    "inf": "an infinite loss counts as an outlier and enters the mean",
    "tie": "a loss of exactly the limit is an outlier",
}


class Rule(NamedTuple):
    """The options of the callback."""

    patience: int = 4
    outlier_multiplier: float = 2.0
    window_size: int = 100
    loss_cap: float = 10.0
    log_only: bool = True


def judge(case: Case, losses: Sequence[float]) -> Verdict:
    if not only(case.config, Rule._fields):
        return unproven(f"unknown options in {case.config}")
    how = Rule(**{k: v for k, v in case.config.items() if v is not None})
    ours, theirs = observed(how, losses), np.asarray(case.expected["event"])
    rule = functools.partial(reference, how, losses)
    events, ties = rule(frozenset())
    if np.any((ours != events) & ~ties):
        return unproven("the rule, as it is written here, gives other events than ours")
    if np.all((theirs == events) | ties):
        return MATCHED
    return differs(
        lambda found: bool(np.all((ours == found[0]) | found[1])),
        lambda found: bool(np.all((theirs == found[0]) | found[1])),
        QUIRKS,
        rule,
    )


def observed(how: Rule, losses: Sequence[float]) -> np.ndarray:
    """1 where the spike has lasted."""
    window = how.window_size
    outlier = octl.watch.excess(how.outlier_multiplier, window=window)
    watcher = octl.lasting(how.patience + 1, octl.after(window, outlier))
    run = jax.jit(lambda x: octl.replay(watcher, {"loss": x}).decisions.alarm)
    alarm = np.asarray(run(np.asarray(losses, np.float32)))
    return (alarm == octl.Alarm.LOSS_SPIKE).astype(int)


def reference(how: Rule, losses: Any, quirks: frozenset[str]) -> tuple[Any, Any]:
    """The event of every step, and where it rests on a tie."""
    kept: list[float] = []
    window, cap, outliers, tied = how.window_size, how.loss_cap, 0, False
    events, ties = [], []
    for step, x in enumerate(losses):
        event = 0
        if step == window and how.loss_cap == Rule().loss_cap:
            cap = min(max(kept), cap)
        if step >= window:
            last = kept[-window:]
            limit = float(np.mean(last)) * how.outlier_multiplier
            counts = math.isfinite(x) or "inf" in quirks
            if counts and (x > limit or ("tie" in quirks and x == limit)):
                outliers += 1
            else:
                outliers = 0
            near = abs(x - limit) <= TIE * abs(limit)
            tied = near or (tied and outliers > 0)
            high = sum(loss > cap for loss in last) >= window / 2
            if outliers > how.patience:
                event = 1
            elif "high" in quirks and step >= 2 * window and high:
                event = 2
        events.append(event)
        ties.append(tied)
        if math.isfinite(x) or ("nan" if math.isnan(x) else "inf") in quirks:
            kept.append(x)
    return np.asarray(events), np.asarray(ties)
