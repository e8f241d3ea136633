"""Early stopping with the arguments that people know."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from jax.core import Tracer

from optaxctl._core import checks
from optaxctl._core.cadence import after
from optaxctl._core.controllers import Controller, read
from optaxctl._core.decisions import Decision
from optaxctl._core.keeping import KeepBest, keep_best
from optaxctl._core.smoothing import smooth
from optaxctl._core.types import Mode
from optaxctl.stop._custom import custom
from optaxctl.stop._patience import patience as by_patience
from optaxctl.stop._small_gain import small_gain

Strategy = Literal["patience", "delta", "percentage", "moving_average", "custom"]


class EarlyStoppingState(NamedTuple):
    """State of `stop.early_stopping`."""

    rule: Any
    kept: Any  # the best parameters, or None


class EarlyStopping(NamedTuple):
    """What `stop.early_stopping` returns: pure functions over one state.

    Attributes:
      init: `init(params) -> state`.
      update: `update(metrics, params, state) -> (decision, state)`, where `metrics` has
        the monitored value by name. Stop when `decision.stop` is not 0.
      restore: `restore(params, state) -> params`: the best ones if they were kept,
        else the given ones. However the run ended.
      controller: The rule alone, for `control`, `together`, `replay` and `explain`.
    """

    init: Callable[[Any], EarlyStoppingState]
    update: Callable[
        [Mapping[str, Any], Any, EarlyStoppingState],
        tuple[Decision, EarlyStoppingState],
    ]
    restore: Callable[[Any, EarlyStoppingState], Any]
    controller: Controller


def early_stopping(
    strategy: Strategy = "patience",
    *,
    monitor: str = "val_loss",
    mode: Mode = "min",
    patience: int = 10,
    min_delta: float = 0.0,
    min_percentage: float = 0.0,
    moving_average_window: int = 5,
    min_epochs: int = 0,
    baseline: float | None = None,
    restore_best: bool = False,
    function: Callable[..., Any] | None = None,
) -> EarlyStopping:
    """Early stopping by one of five strategies, with the best parameters if you like.

    ================== ===============================================================
    `strategy`         stops after `patience` evaluations in a row
    ================== ===============================================================
    "patience"         that do not beat the best by `min_delta` and `min_percentage`:
                       `stop.patience`
    "delta"            that gain `min_delta` or less on the one before:
                       `stop.small_gain`
    "percentage"       that gain `min_percentage` or less on the one before
    "moving_average"   as "patience", for a running mean of about
                       `moving_average_window` values: `smooth`
    "custom"           by `function`: `stop.custom`, which does its own counting
    ================== ===============================================================

    A value must be better by more than the margins; the first finite one is. A NaN or
    infinite value never becomes the best, and counts as no gain ("patience",
    "moving_average") or is passed over ("delta", "percentage"). Before `min_epochs`
    evaluations nothing stops; all are counted, but a verdict that has passed by then is
    forgotten. An argument that its strategy does not read must have its default.

    Args:
      strategy: One of the five.
      monitor: The name of the metric.
      mode: Whether lower ("min") or higher ("max") values are better.
      patience: Evaluations before stopping, >= 1.
      min_delta: Smallest gain that counts, >= 0, in units of the metric.
      min_percentage: The same in percent of the value to beat, >= 0.
      moving_average_window: Values in the running mean, >= 1; each weighs less by
        (window - 1) / (window + 1) than the next.
      min_epochs: Evaluations before which it does not stop, >= 0.
      baseline: As in `stop.patience`.
      restore_best: Whether to keep a copy of the parameters at the best value, on the
        device. The best is the lowest or highest value itself, whatever the strategy.
      function: The rule, for "custom" only.

    Returns:
      An `EarlyStopping`.

    Raises:
      ValueError: If an argument is out of range, or its strategy does not read it.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> stopper = octl.stop.early_stopping(patience=2, restore_best=True)
      >>> params = jnp.float32(0)
      >>> state = stopper.init(params)
      >>> for val_loss in (0.9, 0.5, 0.7, 0.6):
      ...     params = params + 1
      ...     decision, state = stopper.update({"val_loss": val_loss}, params, state)
      ...     if decision.stop:
      ...         print(octl.explain(decision, stopper.controller, state.rule))
      val_loss has not beaten 0.5 for 2 updates; stopping.
      >>> float(stopper.restore(params, state))
      2.0

    References:
      Prechelt, `Early Stopping - But When?
      <https://doi.org/10.1007/3-540-49430-8_3>`_, 1998. The arguments are those of
      Keras; its class forgets its count in a checkpoint, and cannot be compiled.
    """
    who = "stop.early_stopping"
    checks.one_of(who, "strategy", strategy, _READS)
    checks.one_of(who, "mode", mode, ("min", "max"))
    checks.require(
        isinstance(monitor, str), who, "monitor", monitor, "the name of one signal"
    )
    given = {
        "min_delta": (min_delta, 0.0),
        "min_percentage": (min_percentage, 0.0),
        "moving_average_window": (moving_average_window, 5),
        "baseline": (baseline, None),
        "function": (function, None),
        "patience": (patience, 10),
        "mode": ("min" if restore_best else mode, "min"),
    }
    for name, (value, default) in given.items():
        changed = isinstance(value, Tracer) or value != default
        if changed and name not in _READS[strategy]:
            readers = " or ".join(
                repr(s) for s, reads in _READS.items() if name in reads
            )
            raise ValueError(
                f"`{who}({name}={value!r})` is read by strategy {readers} only, and "
                f"this is {strategy!r}."
            )
    checks.at_least(0, who, min_delta=min_delta, min_percentage=min_percentage)
    checks.count(who, patience=patience, moving_average_window=moving_average_window)
    checks.count(who, low=0, min_epochs=min_epochs)
    checks.flag(who, restore_best=restore_best)
    common: dict[str, Any] = {"monitor": monitor, "mode": mode}
    margins = {"atol": min_delta, "rtol": min_percentage / 100}
    if strategy == "custom":
        if function is None:
            raise ValueError(f'`{who}("custom")` needs `function=`; see `stop.custom`.')
        rule = custom(function, monitor=monitor)
    elif strategy in ("delta", "percentage"):
        rule = small_gain(patience, **margins, **common)
    else:
        rule = by_patience(patience, baseline=baseline, **margins, **common)
        # A window of 1 is the value itself, which no running mean is.
        if strategy == "moving_average" and not checks.is_one(moving_average_window):
            decay = 1 - 2 / (moving_average_window + 1)
            rule = smooth(rule, monitor=monitor, decay=decay)
    if isinstance(min_epochs, Tracer) or min_epochs > 1:
        rule = after(min_epochs - 1, rule)
    keeper: KeepBest | None = keep_best(mode) if restore_best else None

    def init(params: Any) -> EarlyStoppingState:
        return EarlyStoppingState(rule.init(), keeper and keeper.init(params))

    def update(
        metrics: Mapping[str, Any], params: Any, state: EarlyStoppingState
    ) -> tuple[Decision, EarlyStoppingState]:
        decision, new = rule.update(metrics, state.rule)
        kept = state.kept
        if keeper is not None:
            _, kept = keeper.update(read(metrics, monitor, who), params, kept)
        return decision, EarlyStoppingState(new, kept)

    def restore(params: Any, state: EarlyStoppingState) -> Any:
        return params if keeper is None else keeper.params(state.kept)

    return EarlyStopping(init, update, restore, rule)


_MARGINS = {"min_delta", "min_percentage", "baseline", "patience", "mode"}
_READS: dict[str, set[str]] = {
    "patience": _MARGINS,
    "delta": {"min_delta", "patience", "mode"},
    "percentage": {"min_percentage", "patience", "mode"},
    "moving_average": {*_MARGINS, "moving_average_window"},
    "custom": {"function"},
}
