"""Let an alarm through only once it has lasted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool

from optaxctl._core import checks
from optaxctl._core.controllers import (
    Controller,
    Signals,
    State,
    require_controller,
)
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision
from optaxctl._core.factory import factory
from optaxctl._core.flags import ABOUT_CONTROL
from optaxctl._core.types import I32, Flag


class RowState(NamedTuple):
    """State of `lasting` for updates in a row."""

    consecutive: I32  # updates in a row with an alarm; saturates
    inner: State


class ShareState(NamedTuple):
    """State of `lasting` for updates among the last ones."""

    recent: Bool[Array, " within"]  # whether an alarm was up, oldest first
    inner: State


@factory
def lasting(
    updates: int, watcher: Controller, *, within: int | None = None
) -> Controller:
    """Lets an alarm through once it has been up in enough of the last updates.

    The alarm of `watcher` comes through in an update if an alarm was up in `updates`
    of the last `within` updates, this one included; with `within=None`, in the last
    `updates` in a row. What comes through are the bits of this update, so nothing does
    while the alarm is down. Alarms about the control, `OUT_OF_DOMAIN` and
    `INVALID_DECISION`, pass through and do not count; all other fields pass through.

    One value far out says little: healthy runs have such. Several in a row they have
    hardly ever.

    Args:
      updates: Updates with an alarm that it takes, >= 1.
      watcher: The controller whose alarm must last.
      within: The last updates among which they are counted, >= `updates`, or None for
        updates in a row. One bool of state for each.

    Returns:
      A controller that moves what `watcher` moves. Gauges: those of `watcher`, and
      `consecutive`, or `up` with `within`: the updates with an alarm that count now.

    Raises:
      ValueError: If a number is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> watcher = octl.lasting(2, octl.watch.nonfinite("loss"))
      >>> losses = jnp.array([jnp.nan, 1.0, jnp.nan, jnp.nan, jnp.nan])
      >>> octl.replay(watcher, {"loss": losses}).decisions.alarm.tolist()
      [0, 0, 0, 1, 1]

    References:
      The M-of-N rule of detection. llm-foundry's `KillLossSpike` has a `patience` of
      `updates - 1`.
    """
    checks.count("lasting", updates=updates)
    require_controller("lasting", "watcher", watcher)
    enough = jnp.asarray(updates, jnp.int32)
    if within is not None:
        checks.count("lasting", within=within)
        checks.require(
            updates <= within, "lasting", "within", within, f">= updates = {updates}"
        )

    def init() -> RowState | ShareState:
        if within is None:
            return RowState(jnp.zeros((), jnp.int32), watcher.init())
        return ShareState(jnp.zeros((within,), jnp.bool_), watcher.init())

    def in_a_row(up: Flag, state: RowState) -> tuple[I32, RowState]:
        consecutive = jnp.where(up, increment(state.consecutive), 0)
        return consecutive, state._replace(consecutive=consecutive)

    def among(up: Flag, state: ShareState) -> tuple[I32, ShareState]:
        recent = jnp.append(state.recent[1:], up)
        return _count(recent), state._replace(recent=recent)

    follow: Callable[..., Any] = in_a_row if within is None else among

    def update(signals: Signals, state: Any) -> tuple[Decision, Any]:
        decision, inner = watcher.update(signals, state.inner)
        own = decision.alarm & int(ABOUT_CONTROL)
        up = decision.alarm & ~int(ABOUT_CONTROL)
        counted, state = follow(up != 0, state)
        alarm = jnp.asarray(jnp.where(counted >= enough, up, 0) | own, jnp.int32)
        return decision._replace(alarm=alarm), state._replace(inner=inner)

    def gauges(state: Any) -> dict[str, Any]:
        if within is None:
            own = {"consecutive": state.consecutive}
        else:
            own = {"up": _count(state.recent)}
        return {**watcher.gauges(state.inner), **own}

    return watcher._replace(init=init, update=update, gauges=gauges, combine=None)


def _count(flags: Bool[Array, " within"]) -> I32:
    return jnp.sum(flags, dtype=jnp.int32)
