"""Feed a controller a running mean."""

from typing import NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, State, read
from optaxctl._core.decisions import Decision
from optaxctl._core.factory import factory
from optaxctl._core.types import F32


class SmoothState(NamedTuple):
    """State of `smooth`: a bias-corrected running mean and the inner state."""

    mean: F32
    weight: F32
    inner: State


@factory
def smooth(controller: Controller, *, monitor: str, decay: float = 0.9) -> Controller:
    """Feeds a controller the running mean of a signal instead of the signal.

    m_t = decay * m_(t-1) + (1 - decay) * x_t, divided by 1 - decay^t, so the first
    value counts in full. A non-finite x_t reaches the controller as it is and does
    not enter the mean.

    Args:
      controller: The controller to feed.
      monitor: The signal to smooth.
      decay: Weight of the past, > 0 and < 1.

    Returns:
      A controller that moves the fields of the inner one.

    Raises:
      ValueError: If `decay` is out of range or `monitor` is not read.

    Example:
      >>> import optaxctl as octl
      >>> calm = octl.smooth(octl.lr.plateau(20, monitor="loss"), monitor="loss")
    """
    checks.between(0, 1, "smooth", decay=decay)
    checks.one_of("smooth", "monitor", monitor, sorted(controller.signals))
    keep = jnp.asarray(decay, jnp.float32)

    def init() -> SmoothState:
        zero = jnp.zeros((), jnp.float32)
        return SmoothState(zero, jnp.zeros((), jnp.float32), controller.init())

    def update(signals: Signals, state: SmoothState) -> tuple[Decision, SmoothState]:
        x = read(signals, monitor, "smooth")
        ok = jnp.isfinite(x)
        mean = jnp.where(ok, keep * state.mean + (1 - keep) * x, state.mean)
        weight = jnp.where(ok, keep * state.weight + (1 - keep), state.weight)
        smoothed = jnp.where(ok, mean / weight, x)
        decision, inner = controller.update({**signals, monitor: smoothed}, state.inner)
        return decision, SmoothState(mean, weight, inner)

    return controller._replace(
        init=init,
        update=update,
        gauges=lambda state: controller.gauges(state.inner),
        combine=None,
    )
