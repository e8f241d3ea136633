"""Stop when so many updates, tokens or examples are used up."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.flags import StopReason
from optaxctl._core.types import I32

_UNIT = 2**24  # what is used is counted in these and a rest, both exact


class BudgetState(NamedTuple):
    """State of `stop.budget`: what was used is 2^24 * `units` + `rest`."""

    units: I32
    rest: I32


def budget(total: float, *, per_update: int | str = 1) -> Controller:
    """Stops when `total` of something is used up: updates, tokens, examples.

    `stop` is up from the update on in which the sum of what was used reaches `total`.
    The sum is exact, to 2^54. A signal is rounded to a whole number; what is NaN,
    infinite, negative or beyond 2^30 is passed over.

    Args:
      total: What there is to use, >= 1 and <= 2^54.
      per_update: What one update uses: a whole number >= 1 and <= 2^30, such as batch
        size times length, or the name of the signal that says it.

    Returns:
      A controller that moves only `stop` (`BUDGET`). Gauge: `left`, rounded to float32.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> stopper = octl.stop.budget(1e4, per_update="tokens")
      >>> tokens = jnp.array([4096.0, 4096.0, 2048.0])
      >>> octl.replay(stopper, {"tokens": tokens}).decisions.stop.tolist()
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
    if not isinstance(per_update, str):
        checks.count(who, per_update=per_update)
        checks.require(per_update <= 2**30, who, "per_update", per_update, "<= 2^30")
    reads = frozenset({per_update} if isinstance(per_update, str) else ())
    end = BudgetState(*(jnp.asarray(n, jnp.int32) for n in divmod(whole, _UNIT)))

    def init() -> BudgetState:
        return BudgetState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(signals: Signals, state: BudgetState) -> tuple[Decision, BudgetState]:
        if isinstance(per_update, str):
            x = read(signals, per_update, who)
            usable = (x >= 0) & (x <= 2**30)
            used = jnp.where(usable, jnp.round(x), 0).astype(jnp.int32)
        else:
            used = jnp.asarray(per_update, jnp.int32)
        rest = state.rest + used
        units = jnp.minimum(state.units + rest // _UNIT, 2**31 - 2**8)
        new = BudgetState(units, rest % _UNIT)
        over = (units > end.units) | ((units == end.units) & (new.rest >= end.rest))
        return decide(stop=jnp.where(over, int(StopReason.BUDGET), 0)), new

    def gauges(state: BudgetState) -> dict[str, Any]:
        units = (end.units - state.units).astype(jnp.float32)
        rest = (end.rest - state.rest).astype(jnp.float32)
        return {"left": jnp.maximum(units * _UNIT + rest, 0)}

    return Controller(init, update, reads, gauges)
