"""Stop by a rule of the user's own."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import USER_BITS, StopReason
from optaxctl._core.statistics import RingState, ring
from optaxctl._core.types import I32


class CustomState(NamedTuple):
    """State of `stop.custom`."""

    counter: I32
    updates: I32  # updates so far; saturates
    history: dict[str, RingState]  # the last finite values of each signal


class Past(NamedTuple):
    """What the function of `stop.custom` sees of the updates before.

    Attributes:
      counter: What the function returned last beside its verdict, or, if it returns
        only that, in how many updates in a row it has been true; 0 at first.
      history: The last finite values, oldest first, NaN where there is none yet; by
        name if there are several signals.
    """

    counter: I32
    history: Any


@factory
def custom(
    function: Callable[[Any, Any, Past], Any],
    *,
    monitor: str | Sequence[str] = "val_loss",
    window: int = 16,
    reason: int = StopReason.CUSTOM,
) -> Controller:
    """Stops while `function(epoch, metric, state)` is true.

    The function is pure and traceable: `jnp.where` in place of `if`. It gets the number
    of the update, from 0, the metric as a float32 scalar, and a `Past` with the last
    `window` finite values before it and a counter to use as it likes. It returns a
    scalar bool, or that and the next counter. A NaN reaches it as it is, so that it can
    answer it; comparisons with NaN are false.

    Args:
      function: The rule.
      monitor: The signal to read; or several, and then metrics come as a dict by name.
      window: Values to keep of each, >= 1.
      reason: The bit of `stop` to raise: `StopReason.CUSTOM`, or one of your own, from
        1 << 24 to 1 << 30.

    Returns:
      A controller that moves only `stop`. Gauge: `counter`.

    Raises:
      ValueError: If an argument is out of range.
      TypeError: At trace time, if the function returns neither.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> def adaptive_patience(epoch, metric, state):
      ...     best = jnp.nanmin(state.history, initial=jnp.inf)
      ...     stale = jnp.where(metric < best, 0, state.counter + 1)
      ...     return stale >= 2 + epoch // 3, stale
      >>> stopper = octl.stop.custom(adaptive_patience)
      >>> val_loss = jnp.array([3.0, 2.0, 2.5, 2.5, 2.5, 2.5])
      >>> octl.replay(stopper, {"val_loss": val_loss}).decisions.stop.tolist()
      [0, 0, 0, 0, 16384, 16384]
    """
    who = "stop.custom"
    if not callable(function):
        raise TypeError(f"`{who}` needs a function, got {function!r}.")
    checks.count(who, window=window)
    known = [int(StopReason.CUSTOM), *(1 << bit for bit in USER_BITS)]
    checks.one_of(who, "reason", reason, known)
    names = [monitor] if isinstance(monitor, str) else monitor
    named = isinstance(names, Sequence) and bool(names)
    named = named and all(isinstance(name, str) for name in names)
    checks.require(named, who, "monitor", monitor, "the name of a signal, or several")
    kept = ring(window)
    # One signal comes bare, several come by name.
    bare = lambda values: values[monitor] if isinstance(monitor, str) else values

    def init() -> CustomState:
        return CustomState(
            counter=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
            history={name: kept.init() for name in names},
        )

    def update(signals: Signals, state: CustomState) -> tuple[Decision, CustomState]:
        metrics, windows, history = {}, {}, {}
        for name in names:
            metrics[name] = read(signals, name, who)
            past, history[name] = kept.update(metrics[name], state.history[name])
            windows[name] = jnp.where(past.valid, past.values, jnp.nan)
        past = Past(state.counter, bare(windows))
        returned = function(state.updates, bare(metrics), past)
        both = returned if isinstance(returned, tuple) else (returned, state.counter)
        kinds = [_kind(value) for value in both]
        if kinds not in (["bool", "int32"], ["bool", "int64"]):
            raise TypeError(
                f"The function of `{who}` must return a scalar bool, or a tuple of one "
                f"and a whole number, the counter; got {returned!r}."
            )
        verdict, counter = both
        if returned is verdict:
            counter = jnp.where(verdict, increment(state.counter), 0)
        return decide(stop=jnp.where(verdict, int(reason), 0)), CustomState(
            counter=jnp.asarray(counter, jnp.int32),
            updates=increment(state.updates),
            history=history,
        )

    def gauges(state: CustomState) -> dict[str, Any]:
        return {"counter": state.counter}

    return Controller(init, update, frozenset(names), gauges)


def _kind(value: Any) -> str:
    """The type of a scalar, or what is none."""
    try:
        return "array" if jnp.shape(value) else str(jnp.result_type(value))
    except TypeError:
        return "none"
