"""Stop when a signal has become worse strip after strip."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, I32, Mode


class SuccessiveRisesState(NamedTuple):
    """State of `stop.successive_rises`."""

    phase: I32  # values in the strip that is being filled
    last: F32  # value at the end of the last strip; negated in max mode
    rises: I32  # strip ends in a row that were worse; saturates


@factory
def successive_rises(
    strips: int = 3, strip: int = 5, *, monitor: str = "val_loss", mode: Mode = "min"
) -> Controller:
    """Stops once `monitor` was worse at `strips` strip ends in a row: UP of Prechelt.

    A strip is `strip` finite values. At the end of one, with x the value there and
    x_last the value at the end of the strip before, it counts in min mode when

        x > x_last

    strictly, whatever lies between and by how little; any other ends the row. In max
    mode both are negated. The first strip has nothing to be compared with. `stop` is up
    from the `strips`-th strip end in a row until one that does not count. A NaN or
    infinite value is passed over and belongs to no strip.

    It looks at local changes only, so a run that got worse long ago and stays there,
    going up and down, is not stopped: `stop.patience` is.

    Args:
      strips: Worse strip ends in a row before stopping, >= 1. Prechelt compares 2, 3,
        4, 6 and 8.
      strip: Values in a strip, >= 1.
      monitor: The signal to read.
      mode: Whether lower ("min") or higher ("max") values are better.

    Returns:
      A controller that moves only `stop`. Gauge: `patience_left`, in strips.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> errors = jnp.array([0.9, 0.8, 0.6, 0.7, 0.9, 0.8, 0.5, 0.9])
      >>> stopper = octl.stop.successive_rises(2, strip=2)
      >>> replay = octl.replay(stopper, {"val_loss": errors})
      >>> replay.gauges["patience_left"].tolist()
      [2, 2, 2, 2, 2, 1, 1, 0]

    References:
      Prechelt, `Early Stopping - But When?
      <https://doi.org/10.1007/3-540-49430-8_3>`_, 1998.
    """
    who = "stop.successive_rises"
    checks.count(who, strips=strips, strip=strip)
    checks.one_of(who, "mode", mode, ("min", "max"))
    limit, size = jnp.asarray(strips, jnp.int32), jnp.asarray(strip, jnp.int32)
    sign = jnp.float32(1 if mode == "min" else -1)

    def init() -> SuccessiveRisesState:
        return SuccessiveRisesState(
            phase=jnp.zeros((), jnp.int32),
            # Nothing is worse than this, so the first strip never counts.
            last=jnp.full((), jnp.inf, jnp.float32),
            rises=jnp.zeros((), jnp.int32),
        )

    def update(
        signals: Signals, state: SuccessiveRisesState
    ) -> tuple[Decision, SuccessiveRisesState]:
        x = sign * read(signals, monitor, who)
        ok = jnp.isfinite(x)
        phase = jnp.where(ok, state.phase + 1, state.phase)
        ends = ok & (phase >= size)
        rises = jnp.where(x > state.last, increment(state.rises), 0)
        new = SuccessiveRisesState(
            phase=jnp.where(ends, 0, phase),
            last=jnp.where(ends, x, state.last),
            rises=jnp.where(ends, rises, state.rises),
        )
        stop = jnp.where(new.rises >= limit, int(StopReason.SUCCESSIVE_RISES), 0)
        return decide(stop=stop), new

    def gauges(state: SuccessiveRisesState) -> dict[str, Any]:
        return {"patience_left": jnp.maximum(limit - state.rises, 0)}

    return Controller(init, update, frozenset({monitor}), gauges)
