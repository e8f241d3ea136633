"""Notice a gradient that has all but gone."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import Alarm
from optaxctl._core.statistics import MomentsState, moments
from optaxctl._core.types import F32


class VanishingState(NamedTuple):
    """State of `watch.vanishing`."""

    moments: MomentsState  # of the logarithm of the norm
    limit: F32  # the limit of the last update, for the gauge


@factory
def vanishing(
    ratio: float = 1e-3, *, monitor: str = "grad_norm", decay: float = 0.99
) -> Controller:
    """Raises an alarm when the gradient norm falls far below its usual values.

    With r the running geometric mean of the finite norms before this one that are not
    0, from the first one on,

        alarm when n < ratio * r

    strictly. A norm far away enters the mean cut to 6 deviations, so a lasting fall is
    accepted after a while, the later the larger `decay` is. A norm of exactly 0 enters
    nothing: dead units stay reported. A NaN or infinite norm raises no alarm and
    enters nothing.

    Args:
      ratio: The share of the usual norm that is too little, > 0 and < 1.
      monitor: The signal to read, a norm or another positive one.
      decay: Weight of the past in the running mean, > 0 and < 1.

    Returns:
      A controller that moves only `alarm`: `VANISHING_GRADIENT`. Gauge: `limit`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> watcher = octl.watch.vanishing()
      >>> state = watcher.init()
      >>> for norm in (2.0, 1.9, 2.1, 1e-5):
      ...     decision, state = watcher.update({"grad_norm": norm}, state)
      >>> octl.Alarm(int(decision.alarm)).name
      'VANISHING_GRADIENT'
    """
    who = "watch.vanishing"
    checks.between(0, 1, who, ratio=ratio, decay=decay)
    logarithm = moments(
        decay,
        prior_var=lambda _: jnp.full((), 0.05, jnp.float32),
        floor=lambda _: jnp.full((), 0.01, jnp.float32),
    )

    def init() -> VanishingState:
        return VanishingState(logarithm.init(), jnp.zeros((), jnp.float32))

    def update(
        signals: Signals, state: VanishingState
    ) -> tuple[Decision, VanishingState]:
        norm = read(signals, monitor, who)
        usual, kept = logarithm.update(jnp.log(norm), state.moments)
        bound = jnp.asarray(ratio, jnp.float32) * jnp.exp(usual.mean)
        judged = jnp.isfinite(norm) & (usual.seen > 0)
        limit = jnp.where(judged, bound, 0)
        alarm = jnp.where(norm < limit, int(Alarm.VANISHING_GRADIENT), 0)
        return decide(alarm=alarm), VanishingState(kept, limit)

    def gauges(state: VanishingState) -> dict[str, Any]:
        return {"limit": state.limit}

    return Controller(init, update, frozenset({monitor}), gauges)
