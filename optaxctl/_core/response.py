"""Answer an alarm: the one place where a decision crosses families."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, State
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide, merge
from optaxctl._core.factory import factory
from optaxctl._core.flags import ABOUT_CONTROL
from optaxctl._core.types import I32, Flag


class RespondState(NamedTuple):
    """State of `respond`."""

    since: I32  # updates since the alarm was last up; saturates
    up: Flag  # whether the alarm was up in the last update
    inner: State


@factory
def respond(
    watcher: Controller,
    *,
    skip: bool = False,
    rewind: bool = False,
    lr_scale: float = 1.0,
    clip_norm: float = float("inf"),
    stop: int = 0,
    recover: int = 0,
) -> Controller:
    """Answers an alarm by moving other fields: what crosses families goes here.

    While the alarm of `watcher` is up, `skip`, `lr_scale`, `clip_norm` and `stop` are
    in force; `rewind` is asked once, when the alarm rises. After the alarm falls the
    rate is given back geometrically: lr_scale^(1 - t/(recover + 1)) in the t-th update
    since, and 1 for t > recover. The alarm itself stays in the decision. Alarms about
    the control, `OUT_OF_DOMAIN` and `INVALID_DECISION`, are passed on and not answered.

    Args:
      watcher: The controller whose alarm is answered.
      skip: Refuse the steps in which the alarm is up.
      rewind: Ask to go back when the alarm rises.
      lr_scale: Factor for the learning rate while the alarm is up, > 0.
      clip_norm: Limit for the gradient norm while the alarm is up, > 0.
      stop: Bits of `StopReason` to raise while the alarm is up.
      recover: Updates over which `lr_scale` returns to 1, >= 0.

    Returns:
      A controller that moves `alarm` and the fields given here.

    Raises:
      ValueError: If a value is out of range, or nothing is asked for.

    Example:
      >>> import optaxctl as octl
      >>> careful = octl.respond(octl.watch.spike(), lr_scale=0.5, recover=100)
    """
    checks.above(0, "respond", lr_scale=lr_scale)
    checks.require(clip_norm > 0, "respond", "clip_norm", clip_norm, "> 0")
    checks.count("respond", low=0, recover=recover)
    asks = {
        "skip": skip,
        "rewind": rewind,
        "lr_scale": not _is(lr_scale, 1.0),
        "clip_norm": not _is(clip_norm, float("inf")),
        "stop": stop != 0,
    }
    if not any(asks.values()):
        raise ValueError(
            "`respond(...)` must ask for something, for example skip=True."
        )
    factor = jnp.asarray(lr_scale, jnp.float32)
    horizon = jnp.asarray(recover, jnp.float32) + 1

    def init() -> RespondState:
        return RespondState(
            since=jnp.full((), jnp.iinfo(jnp.int32).max, jnp.int32),
            up=jnp.zeros((), jnp.bool_),
            inner=watcher.init(),
        )

    def update(signals: Signals, state: RespondState) -> tuple[Decision, RespondState]:
        decision, inner = watcher.update(signals, state.inner)
        up = (decision.alarm & ~int(ABOUT_CONTROL)) != 0
        since = jnp.where(up, 0, increment(state.since))
        left = jnp.maximum(1 - since.astype(jnp.float32) / horizon, 0)
        fields: dict[str, Any] = {
            "skip": up,
            "rewind": up & ~state.up,
            "lr_scale": jnp.where(up, factor, factor**left),
            "clip_norm": jnp.where(up, clip_norm, jnp.inf),
            "stop": jnp.where(up, int(stop), 0),
        }
        answer = decide(**{name: fields[name] for name in fields if asks[name]})
        return merge(decision, answer), RespondState(since, up, inner)

    return watcher._replace(
        init=init,
        update=update,
        gauges=lambda state: watcher.gauges(state.inner),
        combine=None,
    )


def _is(value: Any, number: float) -> bool:
    return not isinstance(value, Tracer) and bool(value == number)
