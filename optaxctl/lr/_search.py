"""Find the learning rate in the first steps of the run itself."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.adjustment import AdjustmentState, adjustment
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import Alarm
from optaxctl._core.types import F32, I32, Flag

_TRIAL, _RAMP, _DONE, _PROVEN = 0, 1, 2, 3
_GAIN = 1e-3  # less than 0.1 % is no gain: a loss can fall by an ulp for ever


class SearchState(NamedTuple):
    """State of `lr.search`."""

    phase: I32  # 0 on trial, 1 rising, 2 done, 3 proven
    updates: I32  # updates so far; saturates
    seen: Flag  # whether there is a `start`
    lost: Flag  # whether the last value was not finite
    back: Flag  # whether the run is back at its start, and nothing seen since
    start: F32  # logarithm of the first loss
    level: F32  # running mean of the logarithms
    weight: F32  # what the mean weighs, 1 in the long run
    best: F32  # the lowest level
    best_scale: F32  # the scale it was reached with
    stale: I32  # updates since
    adjustment: AdjustmentState  # the scale in force and its limits


@factory
def search(
    updates: int = 100,
    *,
    trial: int = 15,
    factor: float = 1.26,
    back_off: float = 0.3,
    restart: float = 0.03,
    monitor: str = "loss",
    fall: float = 0.15,
    rise: float = 0.5,
    patience: int = 12,
    decay: float = 0.8,
    floor: float = 1e-6,
    ceil: float = 1e6,
) -> Controller:
    """Tries the learning rate, and if it is no good searches for one, going back.

    A learning-rate range test inside the run. With m_t the running mean of log loss,
    m_0 the first, and b the lowest of them:

    - For `trial` updates the rate stays. If then m < m_0 - 2 fall it has proven itself
      and is kept: a good rate is left alone, unless the loss breaks later.
    - Otherwise the rate rises by `factor` in every update. When the loss has fallen,
      b < m_0 - fall, and then breaks, or b is not beaten for `patience` updates, the
      search is done: the run goes back, with `back_off` times the rate at which b was.
    - When the loss breaks without having fallen, or while the rate stays, the rate was
      too high: the run goes back, with `restart` times it, which rises from there.
    - After `updates` updates it is done, with `back_off` times the rate at b.

    A loss breaks when it is NaN or infinite twice in a row, when m > m_0 + rise, or
    when log x > m_0 + 2 rise. Once done it changes nothing any more. The first loss
    must be finite and positive before anything is judged; non-positive ones are passed
    over; non-finite ones enter no mean.

    Until the rate is proven or the search is done, and when a proven rate has lost its
    gain, m > m_0 - fall, the alarm `ON_PROBATION` is up, so that no snapshot is taken:
    a rate that is too high may kill half a network while the loss still looks better
    than at first, so a search goes back to where it began, and so does any other
    rewind in the meantime.

    A loss answers late, most of all with momentum, and meanwhile the rate rises on.
    `back_off` makes up for that; where there are updates to spare, a smaller `factor`
    makes the rate found depend less on the optimizer.

    Going back is `rewind`, which `control(..., snapshots=...)` carries out. Without
    snapshots a rate that breaks the run is cut, but what it broke stays broken.

    In `python -m tests.bench.lr_sensitivity`, over rates of 10^-5 to 10^1, the mean of
    the held-out loss, a geometric one, is 0.10 (digits), 0.30 (MNIST) and 0.72 (text)
    times that of the best schedule or rule without a search; at the best rate it lies
    between 8 % below the best tuned one and, with a noisy gradient on digits, 16 %
    above. Without snapshots most of the gain is lost.

    Args:
      updates: Updates after which the search is over, >= 1.
      trial: Updates in which the rate given may prove itself, >= 0.
      factor: Rise per update, > 1.
      back_off: Share of the rate with the lowest loss that is kept, > 0 and <= 1.
      restart: Share of a rate that was too high to go on with, > 0 and < 1.
      monitor: The signal to read, a positive one that is measured in every step.
      fall: What counts as a fall, in units of log loss, > 0.
      rise: What counts as broken, in units of log loss, > 0.
      patience: Updates without a lower level before the search is done, >= 1.
      decay: Weight of the past in the running mean, > 0 and < 1.
      floor: Lower bound of the scale, > 0 and <= 1.
      ceil: Upper bound of the scale, >= 1.

    Returns:
      A controller that moves `lr_scale`, `rewind` and `alarm`. Gauges: `scale`, `phase`
      (0 on trial, 1 rising, 2 done, 3 proven), `fallen` in units of log loss.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optax, optaxctl as octl
      >>> tx = octl.control(
      ...     octl.inject(optax.adam, learning_rate=1e-5),
      ...     octl.together(search=octl.lr.search(), guard=octl.guard()),
      ...     snapshots=octl.Snapshots(every=20),
      ... )

    References:
      Smith, `Cyclical learning rates <https://arxiv.org/abs/1506.01186>`_, 2015, as
      `octl.lr_find`, which takes the test out of the run and shows the curve.
    """
    who = "lr.search"
    checks.count(who, updates=updates, patience=patience)
    checks.count(who, low=0, trial=trial)
    checks.above(1, who, factor=factor)
    checks.above(0, who, back_off=back_off, fall=fall, rise=rise, floor=floor)
    checks.within(0, 1, who, back_off=back_off)
    checks.between(0, 1, who, restart=restart, decay=decay)
    adjust = adjustment(who, floor=floor, ceil=ceil, cooldown=0, max_adjustments=None)
    keep = jnp.asarray(decay, jnp.float32)
    grow, less = jnp.asarray(factor, jnp.float32), jnp.asarray(restart, jnp.float32)
    high = jnp.asarray(rise, jnp.float32)
    # As sure of the old level as after one value, so that the first new one counts.
    little = 1 - keep

    def init() -> SearchState:
        zero = lambda: jnp.zeros((), jnp.float32)
        count = lambda: jnp.zeros((), jnp.int32)
        no = lambda: jnp.zeros((), jnp.bool_)
        return SearchState(
            phase=count(),
            updates=count(),
            seen=no(),
            lost=no(),
            back=no(),
            start=zero(),
            level=zero(),
            weight=zero(),
            best=zero(),
            best_scale=jnp.ones((), jnp.float32),
            stale=count(),
            adjustment=adjust.init(),
        )

    def update(signals: Signals, state: SearchState) -> tuple[Decision, SearchState]:
        x = read(signals, monitor, who)
        ok = jnp.isfinite(x) & (x >= jnp.finfo(jnp.float32).tiny)
        y = jnp.log(jnp.where(ok, x, 1))
        scale, searching = state.adjustment.scale, state.phase != _DONE
        first = ok & ~state.seen
        anew = first | state.back
        start = jnp.where(first, y, state.start)
        old = jnp.where(anew, jnp.where(first, 0, little), state.weight)
        weight = keep * old + (1 - keep)
        level = jnp.where(anew, start, state.level)
        level = (keep * old * level + (1 - keep) * y) / weight
        better = ok & (anew | (level < state.best - _GAIN))
        best = jnp.where(better, level, state.best)
        best_scale = jnp.where(better, scale, state.best_scale)
        stale = jnp.where(better, 0, increment(state.stale))

        fallen = state.seen & (jnp.where(state.back, start, best) < start - fall)
        high_now = ok & ((level > start + high) | (y > start + 2 * high))
        # Of the step that started, or came back, nothing can be said yet.
        lost = ~jnp.isfinite(x)
        broken = state.seen & ~state.back & ((lost & state.lost) | high_now)
        trying, rising = state.phase == _TRIAL, state.phase == _RAMP
        over = trying & state.seen & (state.updates >= trial)
        proven = over & ok & (level < start - 2 * fall)
        found = rising & fallen & (broken | (stale >= patience))
        failed = searching & broken & ~found
        late = searching & (state.updates >= updates)
        late &= ~(found | failed | proven)
        ends = found | late
        ramps = rising & ok & ~ends & ~failed
        target = jnp.asarray(back_off, jnp.float32) * best_scale / scale
        wish = jnp.where(ramps, grow, jnp.where(failed, less, 1))
        settles = found | (late & state.seen & (state.phase != _PROVEN))
        moved = adjust.update(jnp.where(settles, target, wish), state.adjustment)

        phase = jnp.where(over | failed, _RAMP, state.phase)
        phase = jnp.where(ends, _DONE, jnp.where(proven, _PROVEN, phase))
        live = ok & searching
        pick = lambda new, old: jnp.where(live, new, old)
        new = SearchState(
            phase=jnp.where(searching, phase, state.phase),
            updates=increment(state.updates),
            seen=state.seen | ok,
            lost=lost,
            back=failed | (state.back & ~ok),
            start=start,
            level=pick(level, state.level),
            weight=pick(weight, state.weight),
            best=pick(best, state.best),
            best_scale=pick(best_scale, state.best_scale),
            stale=jnp.where(failed | (phase != state.phase), 0, stale),
            adjustment=moved,
        )
        gained = (new.phase == _PROVEN) & (level < start - fall)
        unsure = (new.phase != _DONE) & ~gained
        alarm = jnp.where(unsure, int(Alarm.ON_PROBATION), 0)
        return decide(lr_scale=moved.scale, rewind=found | failed, alarm=alarm), new

    def gauges(state: SearchState) -> dict[str, Any]:
        return {
            "scale": state.adjustment.scale,
            "phase": state.phase,
            "fallen": jnp.where(state.seen, state.start - state.best, 0),
        }

    return Controller(init, update, frozenset({monitor}), gauges)
