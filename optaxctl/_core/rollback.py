"""Go back when a run goes wrong, try again more carefully, and know when to give up."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import (
    Controller,
    Signals,
    State,
    read,
    require_controller,
)
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide, merge
from optaxctl._core.factory import factory
from optaxctl._core.flags import ABOUT_CONTROL, Alarm, StopReason
from optaxctl._core.types import F32, I32, Flag

_LAST = 2**31 - 1
_KEEP = 0.9  # weight of the past in the running mean of log loss


class RollbackState(NamedTuple):
    """State of `rollback`."""

    answered: Flag  # whether the alarm is up and a rewind has answered it
    since: I32  # updates since the last rewind; saturates
    calm: I32  # updates since that or the last alarm; saturates
    good: Flag  # whether a value since was as good as before the episode
    tries: I32  # rewinds in this episode
    debt: I32  # what is left of the cuts, in updates that give them back
    anew: Flag  # whether nothing was measured since the last rewind
    first: Flag  # whether that holds since the first one of the episode
    level: F32  # running mean of log loss, since the last rewind
    weight: F32  # what it weighs, 1 in the long run
    before: F32  # the level before the episode
    inner: State


@factory
def rollback(
    watcher: Controller,
    *,
    monitor: str = "loss",
    lr_scale: float = 0.1,
    recover: int = 1000,
    refractory: int = 25,
    probation: int = 25,
    margin: float = 0.5,
    tries: int = 7,
) -> Controller:
    """Answers an alarm by going back, and by a lower learning rate if that is no cure.

    When the alarm of `watcher` rises it asks for a rewind, and while the alarm is up it
    refuses every step. What it goes back to was healthy, so if the loss is bad there
    too, the data are to blame, and refusing them is enough. If it is as good as before
    the episode and the alarm rises again, the rate is. So the first rewind changes
    nothing else, and each further one in the same episode multiplies the rate by
    `lr_scale`. An alarm that is up `refractory` updates after a rewind is a reason for
    the next one, to an older snapshot, whatever the loss was.

    A rewind is on probation, with the alarm `ON_PROBATION` up so that no snapshot is
    taken, until there was no alarm for `probation` updates. If the running mean of the
    logarithm of `monitor` then lies no more than `margin` above that before the
    episode, the episode is over. If it lies higher, and so does the value itself, the
    try has failed and the next one follows; a good value under a high mean, which bad
    batches may have left, decides nothing yet. Once an episode is over, cuts are given
    back geometrically, a factor of 1/lr_scale in `recover` updates without an alarm.
    When `tries` rewinds of an episode did not help, it asks to stop instead of the
    next one, and goes on asking, and refusing, while the alarm is up.

    A value enters the mean cut to `margin` above it and four times that below; the
    first one after a rewind is cut in the same way about the mean before the episode.
    A NaN, infinite or non-positive one does not enter, and where there is no mean a try
    succeeds without an alarm. Alarms about the control, `OUT_OF_DOMAIN` and
    `INVALID_DECISION`, are passed on and not answered.

    The rewind is carried out by `control(..., snapshots=...)`, or by a loop that reads
    `Reading.rewinds` and restores a checkpoint. It undoes steps, so it needs persistent
    evidence: `watch.divergence`, or anything in `lasting`.

    Args:
      watcher: The controller whose alarm is answered.
      monitor: The signal that probation is judged by; a positive one.
      lr_scale: Factor of a cut, > 0 and <= 1.
      recover: Updates to give a factor of `lr_scale` back in, >= 0.
      refractory: Updates after a rewind in which the data may be to blame, >= 1.
      probation: Updates without an alarm after which a try is judged, >= 1.
      margin: What is too much then, in units of log loss, > 0: 0.5 is 1.65 times.
      tries: Rewinds in one episode before giving up, >= 1.

    Returns:
      A controller that moves `alarm`, `skip`, `rewind`, `lr_scale` and `stop`
      (`GAVE_UP`). Gauges beside the watcher's: `tries` and `cut`, the factor in force.

    Raises:
      ValueError: If a value is out of range.

    Example:
      >>> import optaxctl as octl
      >>> c = octl.rollback(octl.watch.excess(10.0))
      >>> state = c.init()
      >>> for loss in (1.0, 99.0, 99.0, 1.0, 99.0):
      ...     decision, state = c.update({"loss": loss}, state)
      ...     rate = round(float(decision.lr_scale), 3)
      ...     print(bool(decision.skip), bool(decision.rewind), rate)
      False False 1.0
      True True 1.0
      True False 1.0
      False False 1.0
      True True 0.1

    References:
      The practice of large runs: PaLM restarts 100 steps before a spike and goes past
      its batches; OPT-175B and BLOOM also lower the rate. There people do it.
    """
    who = "rollback"
    require_controller(who, "watcher", watcher)
    checks.above(0, who, lr_scale=lr_scale, margin=margin)
    checks.within(0, 1, who, lr_scale=lr_scale)
    checks.count(who, low=0, recover=recover)
    checks.count(who, refractory=refractory, probation=probation, tries=tries)
    factor = jnp.asarray(lr_scale, jnp.float32)
    wide = jnp.asarray(margin, jnp.float32)
    unit = jnp.maximum(jnp.asarray(recover, jnp.int32), 1)

    def init() -> RollbackState:
        return RollbackState(
            answered=jnp.zeros((), jnp.bool_),
            since=jnp.full((), _LAST, jnp.int32),
            calm=jnp.full((), _LAST, jnp.int32),
            good=jnp.zeros((), jnp.bool_),
            tries=jnp.zeros((), jnp.int32),
            debt=jnp.zeros((), jnp.int32),
            anew=jnp.zeros((), jnp.bool_),
            first=jnp.zeros((), jnp.bool_),
            level=jnp.zeros((), jnp.float32),
            weight=jnp.zeros((), jnp.float32),
            before=jnp.full((), jnp.inf, jnp.float32),
            inner=watcher.init(),
        )

    def update(
        signals: Signals, state: RollbackState
    ) -> tuple[Decision, RollbackState]:
        decision, inner = watcher.update(signals, state.inner)
        up = (decision.alarm & ~int(ABOUT_CONTROL)) != 0
        since = increment(state.since)
        x = read(signals, monitor, who)
        counts = jnp.isfinite(x) & (x >= jnp.finfo(jnp.float32).tiny) & ~up
        # What a rewind asks of the mean waits for a value, so that no NaN changes it.
        starts = counts & state.anew
        mean = state.level / jnp.maximum(state.weight, 1 - _KEEP)
        known = jnp.where(state.weight > 0, mean, jnp.inf)
        before = jnp.where(starts & state.first, known, state.before)
        held = jnp.where(starts, 0, state.weight)
        y = jnp.log(jnp.where(counts, x, 1))
        # A few bad values, not yet known as such, must not pass for the level.
        usual = jnp.where(held > 0, mean, before)
        calmed = jnp.clip(y, usual - 4 * wide, usual + wide)
        y = jnp.where(jnp.isfinite(usual), calmed, y)
        weight = jnp.where(counts, _KEEP * held + 1 - _KEEP, state.weight)
        level = _KEEP * jnp.where(starts, 0, state.level) + (1 - _KEEP) * y
        level = jnp.where(counts, level, state.level)

        calm = jnp.where(up, 0, increment(state.calm))
        judged = (calm >= probation) & jnp.isfinite(x)
        high = counts & (state.tries > 0) & (level > (before + wide) * weight)
        fine = counts & (x <= jnp.exp(before + wide))
        worse, over = judged & high & ~fine, judged & ~high
        tried = jnp.where(over, 0, state.tries)
        good = state.good | fine
        rises = ~state.answered & (good | (tried == 0))
        asks = worse | (up & (rises | (since > refractory)))
        back = asks & (tried < tries)
        paid = jnp.where(recover == 0, 0, jnp.maximum(state.debt - 1, 0))
        owed = jnp.where(over, paid, state.debt)
        more = jnp.where(back & (tried > 0), jnp.minimum(unit, _LAST - owed), 0)
        new = RollbackState(
            answered=up & (back | (state.answered & ~asks)),
            since=jnp.where(back, 0, since),
            calm=jnp.where(back, 0, calm),
            good=good & ~back,
            tries=jnp.where(back, increment(tried), tried),
            debt=owed + more,
            anew=back | (state.anew & ~counts),
            first=(back & (tried == 0)) | (state.first & ~counts),
            level=level,
            weight=weight,
            before=before,
            inner=inner,
        )
        waits = new.tries > 0
        answer = decide(
            alarm=jnp.where(waits, int(Alarm.ON_PROBATION), 0),
            skip=up | back,
            rewind=back,
            lr_scale=cut(new.debt),
            stop=jnp.where(asks & ~back, int(StopReason.GAVE_UP), 0),
        )
        return merge(decision, answer), new

    def cut(debt: I32) -> Any:
        return factor ** (debt.astype(jnp.float32) / unit.astype(jnp.float32))

    def gauges(state: RollbackState) -> dict[str, Any]:
        own = {"tries": state.tries, "cut": cut(state.debt)}
        return {**watcher.gauges(state.inner), **own}

    reads = watcher.signals | {monitor}
    return Controller(init, update, reads, gauges)
