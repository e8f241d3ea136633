"""Choose between a careful, a usual and a bold `lr.adaptive` as the run goes."""

from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision
from optaxctl._core.factory import factory
from optaxctl._core.types import I32
from optaxctl.lr._adaptive import AdaptiveState, adaptive
from optaxctl.lr._presets import AGGRESSIVE, CONSERVATIVE

_CAREFUL, _USUAL, _BOLD = 0, 1, 2
_NONE: Mapping[str, Any] = MappingProxyType({})
_MOVABLE = (
    "brake",
    "ceil",
    "decrease",
    "flat",
    "floor",
    "improving",
    "increase",
    "max_change",
    "patience",
    "spike",
    "stable",
    "unstable",
)


class AutomaticState(NamedTuple):
    """State of `lr.automatic`."""

    pace: I32  # 0 careful, 1 usual, 2 bold
    held: I32  # windows since it changed; saturates
    flat: I32  # windows in a row without improvement; saturates
    inner: AdaptiveState


@factory
def automatic(
    total_steps: int | None = None,
    *,
    usual: Mapping[str, Any] = _NONE,
    careful: Mapping[str, Any] = CONSERVATIVE,
    bold: Mapping[str, Any] = AGGRESSIVE,
    turbulent: float = 0.6,
    plateau: int = 3,
    hold: int = 2,
) -> Controller:
    """Runs `lr.adaptive` with usual, careful or bold arguments, as the loss suggests.

    At the end of each window, if the choice is at least `hold` windows old, it becomes

        careful    if cv > turbulent
        bold       if each of the last `plateau` windows improved by less than `flat`
        usual      otherwise

    in this order, with cv and improvement as in `lr.adaptive`. It is in force from the
    next update on. All three move one scale, so a choice by itself changes no rate. The
    first is the usual one; the next needs two full windows. Spikes, NaN and the first
    call are those of `lr.adaptive`.

    In `python -m tests.bench.lr_sensitivity` it is no better than `lr.adaptive`, and no
    worse: the geometric means are equal to 1 %.

    Args:
      total_steps: As in `lr.adaptive`.
      usual: Arguments of `lr.adaptive`, by name.
      careful: What takes their place in a turbulent run: any of `brake`, `ceil`,
        `decrease`, `flat`, `floor`, `improving`, `increase`, `max_change`, `patience`,
        `spike`, `stable` and `unstable`.
      bold: Likewise, on a plateau.
      turbulent: cv above which to be careful, > 0.
      plateau: Windows without improvement after which to be bold, >= 1.
      hold: Windows to stay with a choice, >= 1.

    Returns:
      A controller that moves only `lr_scale`. Gauges: those of `lr.adaptive`, and
      `pace`: 0 careful, 1 usual, 2 bold.

    Raises:
      ValueError: If an argument is out of range, or `careful` or `bold` names one that
        cannot change in a run.

    Example:
      >>> import numpy as np, optaxctl as octl
      >>> c = octl.lr.automatic(usual={"window": 4, "warmup": 0}, plateau=2)
      >>> seen = octl.replay(c, {"loss": np.ones(20)}).gauges["pace"]
      >>> [int(pace) for pace in seen[3::4]]
      [1, 1, 2, 2, 2]

    References:
      The mode `auto` of AI-OS' `AdaptiveLRScheduler`.
    """
    who = "lr.automatic"
    checks.above(0, who, turbulent=turbulent)
    checks.count(who, plateau=plateau, hold=hold)
    for name, changes in {"careful": careful, "bold": bold}.items():
        for key in changes:
            checks.one_of(who, f"{name}[{key!r}]", key, _MOVABLE)
    # Each is checked now, since inside a step nothing may raise.
    plain, *_ = (
        adaptive(total_steps, **{**usual, **changes}) for changes in ({}, careful, bold)
    )
    least = jnp.asarray(usual.get("flat", _default("flat")), jnp.float32)

    def init() -> AutomaticState:
        return AutomaticState(
            pace=jnp.full((), _USUAL, jnp.int32),
            held=jnp.zeros((), jnp.int32),
            flat=jnp.zeros((), jnp.int32),
            inner=plain.init(),
        )

    def chosen(pace: I32) -> Controller:
        now = dict(usual)
        for key in careful.keys() | bold.keys():
            middle = usual.get(key, _default(key))
            values = [careful.get(key, middle), middle, bold.get(key, middle)]
            kind = jnp.int32 if key == "patience" else jnp.float32
            now[key] = jnp.stack([jnp.asarray(v, kind) for v in values])[pace]
        return adaptive(total_steps, **now)

    def update(signals: Signals, state: AutomaticState) -> tuple[Decision, Any]:
        decision, inner = chosen(state.pace).update(signals, state.inner)
        full = inner.filled == inner.values.values.size
        ends = full & (inner.phase == 0) & (state.inner.phase != 0)
        gains = inner.trend.improvement >= least
        flat = jnp.where(gains, 0, increment(state.flat))
        held = increment(state.held)
        pace = jnp.where(flat >= plateau, _BOLD, _USUAL)
        rough = inner.trend.cv > jnp.asarray(turbulent, jnp.float32)
        pace = jnp.where(rough, _CAREFUL, pace)
        moves = ends & (held >= hold) & (pace != state.pace)
        new = AutomaticState(
            pace=jnp.where(moves, pace, state.pace).astype(jnp.int32),
            held=jnp.where(moves, 0, jnp.where(ends, held, state.held)),
            flat=jnp.where(ends, flat, state.flat),
            inner=inner,
        )
        return decision, new

    def gauges(state: AutomaticState) -> dict[str, Any]:
        return {**plain.gauges(state.inner), "pace": state.pace}

    return Controller(init, update, plain.signals, gauges)


def _default(key: str) -> Any:
    return signature(adaptive).parameters[key].default
