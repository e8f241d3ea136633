"""Run a recorded series through a controller: what would it have decided?"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core.cadence import fresh_only
from optaxctl._core.checks import did_you_mean
from optaxctl._core.controllers import Controller, State
from optaxctl._core.decisions import Decision


class Replay(NamedTuple):
    """A decision and the gauges for every step of the series, and the last state."""

    decisions: Decision
    gauges: dict[str, Any]
    state: State


def replay(
    controller: Controller,
    values: Mapping[str, Any],
    mask: Mapping[str, Any] | None = None,
) -> Replay:
    """Feeds recorded signals to a controller, step by step, in one `lax.scan`.

    The replay is open loop: the series was recorded under other decisions, and does not
    answer to these. `step` and `accepted` are counted here unless they are given.

    Args:
      controller: Any controller.
      values: Series by signal name, each of shape (steps,). NaN means measured and
        broken, never missing.
      mask: For signals that were not measured in every step, bool series of shape
        (steps,): True where they were. Elsewhere a controller that reads them keeps its
        levels, as under `control(..., observed=...)`.

    Returns:
      The decisions and gauges, with a leading axis of steps, and the last state. All of
      it traces, so `vmap` over a factory sweeps policies on one series.

    Raises:
      TypeError: If a series that the controller reads is missing.
      ValueError: If lengths differ, or `mask` names a series that is not there.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> losses = jnp.array([1.0, 0.5, 0.5, 0.5])
      >>> result = octl.replay(octl.stop.patience(2), {"val_loss": losses})
      >>> [int(stop) for stop in result.decisions.stop]
      [0, 0, 0, 1]
    """
    mask = mask or {}
    counts = {"step", "accepted"}
    series = {
        n: jnp.asarray(v, jnp.int32 if n in counts else jnp.float32)
        for n, v in values.items()
    }
    for name in sorted(controller.signals - counts - series.keys()):
        raise TypeError(
            f"`replay` needs a series of the signal `{name}`, which is not among the "
            f"values ({', '.join(sorted(series)) or 'none'})."
            + did_you_mean(name, series)
        )
    for name in mask:
        if name not in series:
            raise ValueError(
                f"`replay(mask=...)` names `{name}`, which is not among the values."
                + did_you_mean(name, series)
            )
    fresh = {f"fresh/{n}": jnp.asarray(m, jnp.bool_) for n, m in mask.items()}
    columns = {**series, **fresh}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        words = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"`replay` needs at least one series, all of one shape (steps,), got "
            f"{words or 'none'}."
        )
    ((steps,),) = set(shapes.values())
    held = fresh_only(controller, frozenset(mask))

    def body(carry: Any, inputs: Any) -> Any:
        accepted, state = carry
        step, row = inputs
        counted = {"step": step, "accepted": accepted}
        decision, state = held.update({**counted, **row}, state)
        accepted += (~jnp.asarray(decision.skip)).astype(jnp.int32)
        return (accepted, state), (decision, held.gauges(state))

    index = jnp.arange(steps, dtype=jnp.int32)
    start = (jnp.zeros((), jnp.int32), held.init())
    (_, state), (decisions, gauges) = jax.lax.scan(body, start, (index, columns))
    return Replay(decisions, gauges, state)
