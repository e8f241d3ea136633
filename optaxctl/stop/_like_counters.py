"""The counts of torch's plateau, Flax, XGBoost and LightGBM."""

from typing import Literal

from optaxctl._core import checks
from optaxctl._core.controllers import Controller
from optaxctl._core.factory import factory
from optaxctl._core.types import Mode
from optaxctl.stop._peer import Rule, peer

_STORES = frozenset({"stores first", "infinite best"})


@factory
def like_torch(
    patience: int = 10,
    *,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    monitor: str = "val_loss",
    mode: Mode = "min",
    strict: bool = False,
) -> Controller:
    """Stops where torch's `ReduceLROnPlateau` would cut the rate for the first time.

    torch has no early stopping, but a count that many have copied: `patience` updates
    without improvement are forgiven, the next is not. Bugs, reproduced if `strict`: an
    infinite value can become the best, and below zero a relative threshold has the
    wrong sign.

    Args:
      patience: Updates without improvement that are forgiven, >= 0.
      threshold: Smallest gain that counts, >= 0.
      threshold_mode: Whether it is a share of the best value or in units of the signal.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      strict: Whether to reproduce the bugs.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.like_torch(5)

    References:
      torch 2.13. The same as a rate: `lr.plateau(**lr.like_torch(5))`.
    """
    who = "stop.like_torch"
    checks.count(who, low=0, patience=patience)
    checks.one_of(who, "threshold_mode", threshold_mode, ("rel", "abs"))
    checks.at_least(0, who, threshold=threshold)
    relative = threshold_mode == "rel"
    rule = Rule(
        updates=patience + 1,
        atol=0.0 if relative else threshold,
        rtol=threshold if relative else 0.0,
        bugs=frozenset({"infinite best", "signed margin"}),
    )
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)


@factory
def like_flax(
    patience: int = 0,
    *,
    min_delta: float = 0.0,
    monitor: str = "val_loss",
    mode: Mode = "min",
    strict: bool = False,
) -> Controller:
    """Stops as `flax.training.early_stopping` does.

    It stops at update patience + 1 without improvement; the first value counts as one,
    whatever it is. Bugs, reproduced if `strict`:
    an infinite value can become the best, and gives way to any value, a NaN too, on
    which nothing improves.

    Args:
      patience: Updates without improvement that are forgiven, >= 0.
      min_delta: Smallest gain that counts, >= 0.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better; Flax has "min".
      strict: Whether to reproduce the bugs.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.like_flax(2, min_delta=1e-3)

    References:
      Flax 0.12, whose class raises under `jit`.
    """
    who = "stop.like_flax"
    checks.count(who, low=0, patience=patience)
    checks.at_least(0, who, min_delta=min_delta)
    bugs = frozenset({"infinite best", "replaces infinite"})
    rule = Rule(patience + 1, min_delta, first=True, bugs=bugs)
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)


@factory
def like_xgboost(
    rounds: int,
    *,
    min_delta: float = 0.0,
    monitor: str = "val_loss",
    mode: Mode = "min",
    strict: bool = False,
) -> Controller:
    """Stops as XGBoost's `EarlyStopping` does.

    The first value counts as a gain, whatever it is. Bugs, reproduced if `strict`: it
    becomes the best even if it is NaN, and nothing improves on that; an infinite value
    can become the best.

    Args:
      rounds: Updates without improvement, >= 1.
      min_delta: Smallest gain that counts, >= 0.
      monitor: The signal to read.
      mode: "min", or "max" for `maximize`.
      strict: Whether to reproduce the bugs.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.like_xgboost(10)

    References:
      XGBoost 3.2.
    """
    who = "stop.like_xgboost"
    checks.count(who, rounds=rounds)
    checks.at_least(0, who, min_delta=min_delta)
    rule = Rule(rounds, min_delta, first=True, bugs=_STORES)
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)


@factory
def like_lightgbm(
    stopping_rounds: int,
    *,
    min_delta: float = 0.0,
    monitor: str = "val_loss",
    mode: Mode = "min",
    strict: bool = False,
) -> Controller:
    """Stops as LightGBM's `early_stopping` does for one metric.

    LightGBM stops at the first of several metrics: put one of these for each into
    `stop.any_of`. Bugs, reproduced if `strict`: those of `stop.like_xgboost`.

    Args:
      stopping_rounds: Updates without improvement, >= 1.
      min_delta: Smallest gain that counts, >= 0.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      strict: Whether to reproduce the bugs.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.any_of(
      ...     loss=octl.stop.like_lightgbm(10),
      ...     auc=octl.stop.like_lightgbm(10, monitor="auc", mode="max"),
      ... )

    References:
      LightGBM 4.7.
    """
    who = "stop.like_lightgbm"
    checks.count(who, stopping_rounds=stopping_rounds)
    checks.at_least(0, who, min_delta=min_delta)
    rule = Rule(stopping_rounds, min_delta, first=True, bugs=_STORES)
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)
