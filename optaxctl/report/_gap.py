"""Validation loss against training loss: how far apart, and what that means."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from optaxctl.host._format import number

RISE = 0.05
"""Of the fall of the validation loss; what it loses again of it is called a rise."""
FEWEST = 4


class Verdict(NamedTuple):
    """Whether a run overfits: one word, and the sentences for it."""

    word: str
    text: str


def training_between(
    steps: np.ndarray, values: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Returns the mean training loss between each evaluation and the one before.

    NaN where no finite one lies between.
    """
    finite = np.isfinite(values)
    ends = np.searchsorted(steps[finite], at, side="right")
    sums = np.concatenate([[0.0], np.cumsum(values[finite])])
    begins = np.concatenate([[0], ends[:-1]])
    n = ends - begins
    return np.where(n > 0, (sums[ends] - sums[begins]) / np.maximum(n, 1), np.nan)


def overfitting(
    steps: np.ndarray, train: np.ndarray, at: np.ndarray, val: np.ndarray
) -> Verdict:
    """Says whether the validation loss has risen since its best while training fell.

    "Now" is the median of the last three evaluations, so that one bad one is not a
    rise, and a rise is more than 5 % of what the validation loss had fallen by, and so
    it is with the gap. So the verdict depends neither on the unit of the loss nor on
    its offset.
    """
    mean = training_between(steps, train, at)
    known = np.isfinite(mean) & np.isfinite(val)
    at, val, mean = at[known], val[known], mean[known]
    if len(at) < FEWEST:
        few = f"There are {len(at)} evaluations, and it takes {FEWEST} to tell."
        return Verdict("unknown", few)
    best = int(np.argmin(val))
    since = f"since step {at[best]:,}"
    now, fit = float(np.median(val[-3:])), float(np.median(mean[-3:]))
    low, fell = float(val[best]), float(val[0] - val[best])
    numbers = (
        f"Validation {number(low)} at its best and {number(now)} now, training "
        f"{number(mean[best])} then and {number(fit)} now."
    )
    if now - low <= RISE * fell and now - fit > low - mean[best] + RISE * fell:
        return Verdict(
            "widening",
            f"Not yet, but the gap widens {since}: the training loss goes on falling "
            f"and the validation loss does not follow. {numbers}",
        )
    if now - low <= RISE * fell:
        return Verdict("none", f"No sign of overfitting. {numbers} {_where(now - fit)}")
    if fit < mean[best]:
        return Verdict(
            "overfitting",
            f"The run overfits {since}: the validation loss rises while the training "
            f"loss falls. {numbers}",
        )
    return Verdict(
        "diverging",
        f"Both losses have risen {since}, so this is not overfitting; look for what "
        f"happened to the learning rate or the data. {numbers}",
    )


def _where(difference: float) -> str:
    if difference < 0:
        return (
            "That validation is below training is usual where training alone has "
            "noise, dropout or label smoothing."
        )
    return f"Validation is {number(difference)} above training."
