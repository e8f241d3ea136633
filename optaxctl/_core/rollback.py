"""Go back when a run goes wrong, try again more carefully, and know when to give up."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, State
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide, merge
from optaxctl._core.flags import ABOUT_CONTROL, StopReason
from optaxctl._core.types import I32

_LAST = 2**31 - 1


class RollbackState(NamedTuple):
    """State of `rollback`."""

    since: I32  # updates since the last rewind; saturates
    tries: I32  # rewinds in this episode
    debt: I32  # what is left of the cuts, in updates that give them back
    inner: State


def rollback(
    watcher: Controller,
    *,
    lr_scale: float = 0.5,
    recover: int = 1000,
    refractory: int = 20,
    probation: int = 100,
    tries: int = 5,
) -> Controller:
    """Answers an alarm by going back and going on with a lower learning rate.

    An update in which the alarm of `watcher` is up asks for a rewind and cuts the
    rate. For `refractory` updates after it alarms are not answered, and the watcher
    starts from nothing, as what it had seen is undone. An alarm that comes back before
    `probation` updates are over is the next try of the same episode. The k-th try
    multiplies the rate by

        lr_scale^(2^(k - 1))

    so that a rate 1,000 times too high is found in four, and one bad batch costs one
    factor. When as many tries as `tries` did not help, the next alarm asks to stop, and
    goes on asking while it is up. Once probation is over the cuts are given back
    geometrically, a factor of 1/lr_scale in `recover` updates, and tries start anew.
    Alarms about the control, `OUT_OF_DOMAIN` and `INVALID_DECISION`, are passed on and
    not answered.

    The rewind is carried out by `control(..., snapshots=...)`, or by a loop that reads
    `Reading.rewinds` and restores a checkpoint. It undoes steps, so it needs persistent
    evidence: `watch.divergence`, or anything in `lasting`.

    Args:
      watcher: The controller whose alarm is answered.
      lr_scale: Factor of the first cut in an episode, > 0 and <= 1.
      recover: Updates to give a factor of `lr_scale` back in, >= 0.
      refractory: Updates after a rewind in which no alarm is answered, >= 0.
      probation: Updates after which a try has succeeded, >= `refractory`.
      tries: Rewinds in one episode before giving up, >= 1 and <= 15.

    Returns:
      A controller that moves `alarm`, `rewind`, `lr_scale` and `stop` (`GAVE_UP`).
      Gauges beside the watcher's: `tries` and `cut`, the factor in force.

    Raises:
      ValueError: If a value is out of range.

    Example:
      >>> import optaxctl as octl
      >>> c = octl.rollback(octl.watch.nonfinite("loss"), refractory=0)
      >>> state = c.init()
      >>> for loss in (1.0, float("nan"), float("nan"), 1.0):
      ...     decision, state = c.update({"loss": loss}, state)
      ...     print(bool(decision.rewind), float(decision.lr_scale))
      False 1.0
      True 0.5
      True 0.125
      False 0.125

    References:
      The practice of large runs: PaLM restarts 100 steps before a spike and goes past
      its batches; OPT-175B and BLOOM also lower the rate. There people do it.
    """
    who = "rollback"
    checks.above(0, who, lr_scale=lr_scale)
    checks.within(0, 1, who, lr_scale=lr_scale)
    checks.count(who, low=0, recover=recover, refractory=refractory)
    checks.count(who, low=0, probation=probation)
    checks.count(who, tries=tries)
    checks.within(1, 15, who, tries=tries)
    checks.require(
        probation >= refractory,
        who,
        "probation",
        probation,
        f">= refractory = {refractory}",
    )
    factor = jnp.asarray(lr_scale, jnp.float32)
    unit = jnp.maximum(jnp.asarray(recover, jnp.int32), 1)

    def init() -> RollbackState:
        return RollbackState(
            since=jnp.full((), _LAST, jnp.int32),
            tries=jnp.zeros((), jnp.int32),
            debt=jnp.zeros((), jnp.int32),
            inner=watcher.init(),
        )

    def update(
        signals: Signals, state: RollbackState
    ) -> tuple[Decision, RollbackState]:
        decision, inner = watcher.update(signals, state.inner)
        since = increment(state.since)
        proven = since > probation
        tried = jnp.where(proven, 0, state.tries)
        up = (decision.alarm & ~int(ABOUT_CONTROL)) != 0
        asks = up & (since > refractory)
        back = asks & (tried < tries)
        paid = jnp.where(recover == 0, 0, jnp.maximum(state.debt - 1, 0))
        owed = jnp.where(proven & ~up, paid, state.debt)
        more = jnp.minimum(unit, (_LAST - owed) // 2**15) << tried
        new = RollbackState(
            since=jnp.where(back, 0, since),
            tries=jnp.where(back, tried + 1, tried),
            debt=jnp.where(back, owed + more, owed),
            inner=jax.tree.map(
                lambda n, o: jnp.where(back, n, o), watcher.init(), inner
            ),
        )
        answer = decide(
            rewind=back,
            lr_scale=_cut(new.debt),
            stop=jnp.where(asks & ~back, int(StopReason.GAVE_UP), 0),
        )
        return merge(decision, answer), new

    def _cut(debt: I32) -> Any:
        return factor ** (debt.astype(jnp.float32) / unit.astype(jnp.float32))

    def gauges(state: RollbackState) -> dict[str, Any]:
        own = {"tries": state.tries, "cut": _cut(state.debt)}
        return {**watcher.gauges(state.inner), **own}

    return watcher._replace(init=init, update=update, gauges=gauges, parts={})
