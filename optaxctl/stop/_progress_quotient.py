"""Stop when validation loses more than training still gains."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, I32
from optaxctl.stop._generalization_loss import lost, positive


class ProgressQuotientState(NamedTuple):
    """State of `stop.progress_quotient`."""

    best: F32  # lowest validation error so far, infinite before the first
    phase: I32  # updates in the strip that is being filled
    lowest: F32  # training error in it
    excess: F32  # sum of its training errors above the lowest
    loss: F32  # generalization loss at the end of the last strip, in percent
    progress: F32  # of training in that strip, in per mille; infinite before the first


@factory
def progress_quotient(
    alpha: float = 0.5,
    strip: int = 5,
    *,
    monitor: str = "val_loss",
    reference: str = "loss",
    min_progress: float = 0.1,
) -> Controller:
    """Stops when generalization loss outweighs the progress of training: Prechelt's PQ.

    At the end of every strip of k = `strip` updates, with V the validation error, V_opt
    the lowest so far and T the training error,

        GL  = 100 * (V / V_opt - 1)
        P_k = 1000 * (mean of T in the strip / min of T in the strip - 1)

        stop when  GL / P_k > alpha  or  P_k < min_progress

    strictly; while training still makes fast progress a rise of the validation error is
    allowed, since it may yet be made good. The second test ends a run whose training
    has come to rest. It is judged at the end of a strip, and what was found there holds
    until the end of the next.

    Both errors must be positive and measured in the same update. An update in which
    either is zero, negative, NaN or infinite is passed over and belongs to no strip.
    Inside `control` observe both, as `stop.overfitting` shows.

    Args:
      alpha: Percent lost per per mille of progress, >= 0. Prechelt compares 0.5, 0.75,
        1, 2 and 3.
      strip: Updates in a strip, >= 2.
      monitor: The validation error.
      reference: The training error.
      min_progress: Progress in per mille below which training has ended, >= 0; 0 for
        no such test.

    Returns:
      A controller that moves only `stop`: `PROGRESS_QUOTIENT`, or `CONVERGED` by
      `min_progress`. Gauges, of the last strip: `generalization_loss` in percent and
      `progress` in per mille, infinite before the first.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> series = {
      ...     "loss": jnp.array([1.0, 0.8, 0.6, 0.55, 0.52, 0.51]),
      ...     "val_loss": jnp.array([1.1, 0.9, 0.9, 0.95, 1.0, 1.1]),
      ... }
      >>> stopper = octl.stop.progress_quotient(0.5, 2)
      >>> [bool(s) for s in octl.replay(stopper, series).decisions.stop]
      [False, False, False, False, False, True]

    References:
      Prechelt, `Early Stopping - But When?
      <https://doi.org/10.1007/3-540-49430-8_3>`_, 1998, which adds the second test
      because PQ alone may never end a run.
    """
    who = "stop.progress_quotient"
    checks.at_least(0, who, alpha=alpha, min_progress=min_progress)
    checks.count(who, low=2, strip=strip)
    quotient = jnp.asarray(alpha, jnp.float32)
    rest = jnp.asarray(min_progress, jnp.float32)
    size = jnp.asarray(strip, jnp.int32)

    def init() -> ProgressQuotientState:
        return ProgressQuotientState(
            best=jnp.full((), jnp.inf, jnp.float32),
            phase=jnp.zeros((), jnp.int32),
            lowest=jnp.full((), jnp.inf, jnp.float32),
            excess=jnp.zeros((), jnp.float32),
            loss=jnp.zeros((), jnp.float32),
            progress=jnp.full((), jnp.inf, jnp.float32),
        )

    def update(
        signals: Signals, state: ProgressQuotientState
    ) -> tuple[Decision, ProgressQuotientState]:
        v, t = read(signals, monitor, who), read(signals, reference, who)
        ok = positive(v) & positive(t)
        best = jnp.where(ok, jnp.minimum(v, state.best), state.best)
        first = state.phase == 0
        lowest = jnp.where(first, t, jnp.minimum(t, state.lowest))
        # A sum of distances from the lowest keeps the digits that progress consists of.
        before = state.phase.astype(jnp.float32)
        sunk = jnp.where(first, 0, state.excess + before * (state.lowest - lowest))
        excess = sunk + (t - lowest)
        phase = state.phase + 1
        ends = ok & (phase >= size)
        mean = excess / phase.astype(jnp.float32)
        new = ProgressQuotientState(
            best=best,
            phase=jnp.where(ok, jnp.where(ends, 0, phase), state.phase),
            lowest=jnp.where(ok, lowest, state.lowest),
            excess=jnp.where(ok, excess, state.excess),
            loss=jnp.where(ends, lost(v, best), state.loss),
            progress=jnp.where(ends, 1000 * (mean / lowest), state.progress),
        )
        # Without a division, so that no progress at all needs no case of its own.
        over = new.loss > quotient * new.progress
        stop = jnp.where(over, int(StopReason.PROGRESS_QUOTIENT), 0)
        done = jnp.where(new.progress < rest, int(StopReason.CONVERGED), 0)
        return decide(stop=stop | done), new

    def gauges(state: ProgressQuotientState) -> dict[str, Any]:
        return {"generalization_loss": state.loss, "progress": state.progress}

    return Controller(init, update, frozenset({monitor, reference}), gauges)
