"""Stop when so many updates, tokens or examples are used up."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import I32

_UNIT = 2**24  # what is used is counted in these and a rest, both exact


class BudgetState(NamedTuple):
    """State of `stop.budget`: what was used is 2^24 * `units` + `rest`."""

    units: I32
    rest: I32


@factory
def budget(total: float, *, per_update: int | str = 1) -> Controller:
    """Stops when `total` of something is used up: updates, tokens, examples.

    With a number per update it stops at the first update n, counted from 1, for which
    n * per_update >= total, and reads n off the `step`, so that in `control` it counts
    steps, however seldom it is asked. With a signal it stops once the sum of its values
    so far reaches `total`. The sum is exact, to 2^54; one value is a float32, rounded
    to a whole number. What is NaN, infinite, negative or beyond 2^30 is passed over.

    Args:
      total: What there is to use, a whole number >= 1 and <= 2^54.
      per_update: What one update uses: a whole number >= 1, such as batch size times
        length, or the name of the signal that says it.

    Returns:
      A controller that moves only `stop` (`BUDGET`). Gauge: `left`, rounded to float32.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> by_size = octl.stop.budget(10_000, per_update=8 * 512)
      >>> octl.replay(by_size, {"loss": jnp.ones(4)}).decisions.stop.tolist()
      [0, 0, 8192, 8192]
      >>> counted = octl.stop.budget(1e4, per_update="tokens")
      >>> tokens = jnp.array([4096.0, 4096.0, 2048.0])
      >>> octl.replay(counted, {"tokens": tokens}).decisions.stop.tolist()
      [0, 0, 8192]

    References:
      The token budgets of Hoffmann et al., `Training compute-optimal large language
      models <https://arxiv.org/abs/2203.15556>`_, 2022; Composer's `max_duration`.
    """
    who = "stop.budget"
    checks.number(who, total=total)
    whole: Any = total
    if not isinstance(total, Tracer):
        inside = (total >= 1) & (total <= 2**54)
        checks.require(inside, who, "total", total, ">= 1 and <= 2^54")
        whole = int(total)
        checks.require(whole == total, who, "total", total, "a whole number")
    monitor = per_update if isinstance(per_update, str) else None
    if not isinstance(per_update, str):
        checks.count(who, per_update=per_update)
        whole = -(-whole // per_update)  # in updates
    end = BudgetState(*(jnp.asarray(n, jnp.int32) for n in divmod(whole, _UNIT)))
    size = jnp.float32(1 if isinstance(per_update, str) else per_update)

    def init() -> BudgetState:
        return BudgetState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(signals: Signals, state: BudgetState) -> tuple[Decision, BudgetState]:
        if monitor is not None:
            x = read(signals, monitor, who)
            usable = (x >= 0) & (x <= 2**30)
            units = state.units
            rest = state.rest + jnp.where(usable, jnp.round(x), 0).astype(jnp.int32)
        else:
            read(signals, "step", who)  # for its error; as a float32 it is rounded
            step = jnp.asarray(signals["step"], jnp.int32)
            units, rest = step // _UNIT, step % _UNIT + 1
        # 2^54 is 2^30 units, so there is room above.
        units = jnp.minimum(units + rest // _UNIT, 2**31 - 2**8)
        new = BudgetState(units, rest % _UNIT)
        over = (new.units > end.units) | (
            (new.units == end.units) & (new.rest >= end.rest)
        )
        return decide(stop=jnp.where(over, int(StopReason.BUDGET), 0)), new

    def gauges(state: BudgetState) -> dict[str, Any]:
        units = (end.units - state.units).astype(jnp.float32)
        rest = (end.rest - state.rest).astype(jnp.float32)
        return {"left": size * jnp.maximum(units * _UNIT + rest, 0)}

    return Controller(init, update, frozenset({monitor or "step"}), gauges)
