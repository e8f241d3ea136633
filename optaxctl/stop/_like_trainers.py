"""The early stopping of Keras, Lightning, Ignite, Transformers and fastai."""

from typing import Literal

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller
from optaxctl._core.factory import factory
from optaxctl._core.types import Mode
from optaxctl.stop._peer import Rule, peer

_STORES = frozenset({"stores first", "infinite best"})


@factory
def like_keras(
    patience: int = 0,
    *,
    min_delta: float = 0.0,
    monitor: str = "val_loss",
    mode: Mode = "min",
    baseline: float | None = None,
    start_from_epoch: int = 0,
    strict: bool = False,
) -> Controller:
    """Stops as Keras' `EarlyStopping` does.

    It takes a patience of 0 for 1, and the first value for a gain, whatever it is.
    Bugs, reproduced if `strict`: that value becomes the best even if it is NaN, and
    nothing improves on that; an infinite value can become the best.

    Args:
      patience: Updates without improvement, >= 0.
      min_delta: Smallest gain that counts; its sign does not.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better; there is no
        guessing by name.
      baseline: A value to be beaten: once the patience is over and it is not, the
        next update that does not improve stops. None for no such value.
      start_from_epoch: Updates to ignore at the start, >= 0.
      strict: Whether to reproduce the bugs.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.like_keras(5, min_delta=0.001)

    References:
      Keras 3.15. Weights are restored by `keep_best`.
    """
    who = "stop.like_keras"
    checks.count(who, low=0, patience=patience, start_from_epoch=start_from_epoch)
    checks.finite(who, min_delta=min_delta)
    if baseline is not None:
        checks.finite(who, baseline=baseline)
    rule = Rule(
        updates=jnp.maximum(patience, 1),
        atol=abs(min_delta),
        baseline=baseline,
        start=start_from_epoch,
        first=True,
        bugs=_STORES,
    )
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)


@factory
def like_lightning(
    patience: int = 3,
    *,
    min_delta: float = 0.0,
    monitor: str = "val_loss",
    mode: Mode = "min",
    check_finite: bool = True,
    stopping_threshold: float | None = None,
    divergence_threshold: float | None = None,
    strict: bool = False,
) -> Controller:
    """Stops as Lightning's `EarlyStopping` does.

    In this order: at a value that is not finite, beyond `stopping_threshold`, beyond
    `divergence_threshold`, by patience, of which 0 means 1. A bug, reproduced if
    `strict`: without `check_finite` an infinite value can become the best.

    Args:
      patience: Updates without improvement, >= 0.
      min_delta: Smallest gain that counts, >= 0.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      check_finite: Whether to stop at the first value that is not finite.
      stopping_threshold: A value to be passed for the better, or None.
      divergence_threshold: A value to be passed for the worse, or None.
      strict: Whether to reproduce the bug.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.like_lightning(3, stopping_threshold=0.1)

    References:
      Lightning 2.6. Its `strict` is about missing metrics, which are an error here.
    """
    who = "stop.like_lightning"
    checks.count(who, low=0, patience=patience)
    checks.flag(who, check_finite=check_finite)
    checks.at_least(0, who, min_delta=min_delta)
    if stopping_threshold is not None:
        checks.finite(who, stopping_threshold=stopping_threshold)
    if divergence_threshold is not None:
        checks.finite(who, divergence_threshold=divergence_threshold)
    rule = Rule(
        updates=jnp.maximum(patience, 1),
        atol=min_delta,
        finite=check_finite,
        reached=stopping_threshold,
        beyond=divergence_threshold,
        bugs=frozenset({"infinite best"}),
    )
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)


@factory
def like_ignite(
    patience: int,
    *,
    threshold: float = 0.0,
    threshold_mode: Literal["abs", "rel"] = "abs",
    cumulative: bool = False,
    monitor: str = "val_loss",
    mode: Mode = "max",
    strict: bool = False,
) -> Controller:
    """Stops as Ignite's `EarlyStopping` does.

    The first value counts as a gain, whatever it is. Bugs, reproduced if `strict`: it
    becomes the best even if it is NaN; a NaN is an improvement, and so is all that
    follows; an infinite value can become the best; and below zero a relative threshold
    has the wrong sign, so that a value that gets worse improves.

    Args:
      patience: Updates without improvement, >= 1.
      threshold: Smallest gain that counts, >= 0.
      threshold_mode: Whether it is in units of the signal or a share of the best value.
      cumulative: Whether gains too small to count add up until they do.
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
      >>> stopper = octl.stop.like_ignite(5, monitor="accuracy")

    References:
      Ignite 0.5.
    """
    who = "stop.like_ignite"
    checks.count(who, patience=patience)
    checks.at_least(0, who, threshold=threshold)
    checks.one_of(who, "threshold_mode", threshold_mode, ("abs", "rel"))
    relative = threshold_mode == "rel"
    rule = Rule(
        updates=patience,
        atol=0.0 if relative else threshold,
        rtol=threshold if relative else 0.0,
        cumulative=cumulative,
        first=True,
        bugs=_STORES | {"nan improves", "signed margin"},
    )
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)


@factory
def like_hf(
    patience: int = 1,
    *,
    threshold: float = 0.0,
    monitor: str = "val_loss",
    mode: Mode = "min",
    strict: bool = False,
) -> Controller:
    """Stops as Hugging Face's `EarlyStoppingCallback` does.

    The best value follows every gain, even one too small to count, and the first value
    counts as one, whatever it is. A bug, reproduced if `strict`: an infinite value can
    become the best.

    Args:
      patience: Its `early_stopping_patience`, in updates, >= 1.
      threshold: Its `early_stopping_threshold`, the smallest gain that counts, >= 0.
      monitor: The signal to read.
      mode: "min", or "max" for `greater_is_better`.
      strict: Whether to reproduce the bug.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.like_hf(3)

    References:
      Transformers 5.23. Unlike there the count is kept in every checkpoint.
    """
    who = "stop.like_hf"
    checks.count(who, patience=patience)
    checks.at_least(0, who, threshold=threshold)
    rule = Rule(
        updates=patience,
        atol=threshold,
        cumulative=False,
        first=True,
        bugs=frozenset({"infinite best"}),
    )
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)


@factory
def like_fastai(
    patience: int = 1,
    *,
    min_delta: float = 0.0,
    monitor: str = "val_loss",
    mode: Mode = "min",
    strict: bool = False,
) -> Controller:
    """Stops as fastai's `EarlyStoppingCallback` does.

    A bug, reproduced if `strict`: an infinite value can become the best.

    Args:
      patience: Updates without improvement, >= 1.
      min_delta: Smallest gain that counts, >= 0.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.
      strict: Whether to reproduce the bug.

    Returns:
      A controller that moves only `stop`. Gauges: `patience_left`, `to_beat`
      and `stale`, as in `stop.patience`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.like_fastai(3)

    References:
      fastai 2.8. Unlike there `min_delta` has no sign to get wrong.
    """
    who = "stop.like_fastai"
    checks.count(who, patience=patience)
    checks.at_least(0, who, min_delta=min_delta)
    rule = Rule(patience, min_delta, bugs=frozenset({"infinite best"}))
    return peer(who, rule, monitor=monitor, mode=mode, strict=strict)
