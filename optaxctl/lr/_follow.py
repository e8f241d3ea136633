"""Let a plain schedule drive the learning rate beside other controllers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core.checks import did_you_mean
from optaxctl._core.controllers import Controller, Signals
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.types import F32


class FollowState(NamedTuple):
    """State of `lr.follow`."""

    factor: F32  # the factor last given, for the gauge; the step comes as a signal


@factory
def follow(schedule: Callable[[Any], Any]) -> Controller:
    """Multiplies the learning rate by `schedule(accepted)`.

    `accepted` is the number of steps that were not refused, so a refused step does
    not use up the schedule. Being a function of that number alone, the controller
    resumes exactly. A non-finite value of the schedule is passed on as it is;
    `control` ignores it and raises an alarm.

    Args:
      schedule: A factor as a function of an int32 step, counted from 0: any Optax
        schedule whose values are relative to the optimizer's learning rate.

    Returns:
      A controller that moves only `lr_scale`. Gauge: `scale`.

    Raises:
      TypeError: If `schedule` is not callable, or, while tracing, if the signal
        `accepted` is missing. `control` and `replay` provide it.

    Example:
      >>> import optaxctl as octl
      >>> rate = octl.lr.follow(octl.schedules.cosine(100))
      >>> decision, _ = rate.update({"accepted": 50}, rate.init())
      >>> round(float(decision.lr_scale), 6)
      0.5
    """
    if not callable(schedule):
        raise TypeError(
            f"`lr.follow(schedule=...)` must be a function of the step, got "
            f"{schedule!r}. A constant rate belongs in the optimizer."
        )

    def init() -> FollowState:
        return FollowState(jnp.ones((), jnp.float32))

    def update(signals: Signals, state: FollowState) -> tuple[Decision, FollowState]:
        del state
        # Read as an integer: float32 cannot count past 2**24.
        if "accepted" not in signals:
            raise TypeError(
                "`lr.follow` reads the signal `accepted`, the number of steps accepted "
                "so far. `control` and `replay` provide it; elsewhere pass it by name."
                + did_you_mean("accepted", signals)
            )
        factor = jnp.asarray(schedule(jnp.asarray(signals["accepted"], jnp.int32)))
        factor = factor.astype(jnp.float32)
        return decide(lr_scale=factor), FollowState(factor)

    def gauges(state: FollowState) -> dict[str, Any]:
        return {"scale": state.factor}

    return Controller(init, update, frozenset({"accepted"}), gauges)
