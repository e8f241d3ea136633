"""Stop when the validation error is too far above its best."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, Flag


class GeneralizationLossState(NamedTuple):
    """State of `stop.generalization_loss`."""

    best: F32  # lowest error so far, infinite before the first
    loss: F32  # of the last error against it, in percent


@factory
def generalization_loss(alpha: float = 5.0, *, monitor: str = "val_loss") -> Controller:
    """Stops while the error is over `alpha` percent above its best: Prechelt's GL.

    With E_opt the lowest error so far, this one included,

        GL = 100 * (E / E_opt - 1),  stop while GL > alpha

    strictly. There is no patience in it: one bad evaluation is enough, so choose
    `alpha` above the noise, or put `smooth` around it.

    The criterion is one of ratios, so it needs a positive error for which less is
    better. A value that is zero, negative, NaN or infinite is passed over: it becomes
    no E_opt, and what held before goes on holding; a run that stays broken is ended by
    `stop.nonfinite`. For an accuracy, monitor the share of errors; for a signal of both
    signs use `stop.patience` with `atol`.

    Args:
      alpha: Percent above the best, >= 0. Prechelt compares 1, 2, 3 and 5.
      monitor: The signal to read, a positive error.

    Returns:
      A controller that moves only `stop`. Gauges: `generalization_loss` in percent, 0
      at first, and `limit`, the error above which it stops, infinite before the first.

    Raises:
      ValueError: If `alpha` is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> errors = jnp.array([1.0, 0.5, 0.51, 0.6, 0.52])
      >>> stopper = octl.stop.generalization_loss(5.0)
      >>> stop = octl.replay(stopper, {"val_loss": errors}).decisions.stop
      >>> [bool(s) for s in stop]
      [False, False, False, True, False]

    References:
      Prechelt, `Early Stopping - But When?
      <https://doi.org/10.1007/3-540-49430-8_3>`_, 1998. There it is evaluated at the
      end of a strip of five epochs: `every(5, generalization_loss(...))`.
    """
    who = "stop.generalization_loss"
    checks.at_least(0, who, alpha=alpha)
    percent = jnp.asarray(alpha, jnp.float32)

    def init() -> GeneralizationLossState:
        return GeneralizationLossState(
            best=jnp.full((), jnp.inf, jnp.float32),
            loss=jnp.zeros((), jnp.float32),
        )

    def update(
        signals: Signals, state: GeneralizationLossState
    ) -> tuple[Decision, GeneralizationLossState]:
        x = read(signals, monitor, who)
        ok = positive(x)
        best = jnp.where(ok, jnp.minimum(x, state.best), state.best)
        new = GeneralizationLossState(best, jnp.where(ok, lost(x, best), state.loss))
        over = new.loss > percent
        return decide(stop=jnp.where(over, int(StopReason.GENERALIZATION_LOSS), 0)), new

    def gauges(state: GeneralizationLossState) -> dict[str, Any]:
        limit = state.best * (1 + percent / 100)
        return {"generalization_loss": state.loss, "limit": limit}

    return Controller(init, update, frozenset({monitor}), gauges)


def positive(x: F32) -> Flag:
    """Whether a ratio with x makes sense: it is finite, positive and not denormal."""
    return jnp.isfinite(x) & (x >= jnp.finfo(jnp.float32).tiny)


def lost(x: F32, best: F32) -> F32:
    """Returns by how many percent x is above the best, which it may be itself."""
    # The difference of neighbours is exact, that of a ratio and 1 is not.
    return 100 * ((x - best) / best)
