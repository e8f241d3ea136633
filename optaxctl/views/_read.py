"""What the controllers did, for people and for conditions inside jit."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from optaxctl._core.decisions import Decision, merge
from optaxctl._core.flags import Alarm, StopReason, names
from optaxctl.views._state import Content, ControlState, states

Number = Any  # a float or int; an array where the state is vmapped


@dataclass(frozen=True)
class Reading:
    """A control state on the host. Arrays of the leading axes where it is vmapped.

    Attributes:
      step: Calls of `update` so far.
      accepted: Steps that were not refused.
      refused: Steps that were refused.
      rewinds: Rewinds asked for.
      clipped: Accepted steps whose gradient was clipped.
      learning_rate: The rate in force in the last step, all scales included; None where
        a ready-made optimizer hides it.
      lr_scale: The controllers' factor in it.
      clip_norm: The limit of the last step, infinite if none.
      skipped: Whether the last step was refused.
      alarms: Names of the alarms of the last step.
      alarms_so_far: Names of all alarms since the start.
      stop: Names of the reasons to stop, latched; empty while the run should go on.
      signals: The last measured value of every signal that is read or recorded.
      hyperparams: Values in force of the hyper-parameters that control owns.
      knobs: The last factors of hyper-parameters.
      gauges: What the controllers show, such as `patience_left`.
      groups: One reading for each control state, in tree order, if there are several.
    """

    step: Number
    accepted: Number
    refused: Number
    rewinds: Number
    clipped: Number
    learning_rate: Number | None
    lr_scale: Number
    clip_norm: Number
    skipped: Number
    alarms: tuple[Any, ...]
    alarms_so_far: tuple[Any, ...]
    stop: tuple[Any, ...]
    signals: dict[str, Number] = field(default_factory=dict)
    hyperparams: dict[str, Number] = field(default_factory=dict)
    knobs: dict[str, Number] = field(default_factory=dict)
    gauges: dict[str, Number] = field(default_factory=dict)
    groups: tuple["Reading", ...] = ()

    @property
    def grad_norm(self) -> Number:
        """The global gradient norm of the last step, before clipping."""
        return self.signals.get("grad_norm")


def read(opt_state: Any) -> Reading:
    """Fetches what control knows, in one transfer, as plain Python numbers.

    This waits for the step that made `opt_state`, so read rarely: decisions are levels
    and the counters miss nothing.

    Args:
      opt_state: Any tree that contains control states, as in `observe`.

    Returns:
      The reading; of the first control state, with all of them in `groups`, if there
      are several.

    Raises:
      TypeError: If there is no control state in the tree.
      ValueError: If a state was packed by another layout, as after restoring a
        checkpoint of other controllers.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(optax.sgd(0.1), octl.clip.zscore(), learning_rate=0.1)
      >>> state = tx.init(jnp.ones(2))
      >>> octl.read(state).step, octl.read(state).stop
      (0, ())
    """
    found = states(opt_state)
    if not found:
        raise TypeError(
            "`read` found no control state. Pass the optimizer state of a `control`led "
            "optimizer, or what contains it."
        )
    fetched = jax.device_get([state.arrays() for state in found])
    readings = []
    for state, (f32, i32) in zip(found, fetched, strict=True):
        _check_fingerprint(state, i32)
        readings.append(_reading(state.layout.unpack(np.asarray(f32), np.asarray(i32))))
    if len(readings) == 1:
        return readings[0]
    return _with_groups(readings)


def last_decision(opt_state: Any) -> Decision:
    """Returns the decision of the last step as arrays, for use inside jit.

    `stop` is latched: it holds every reason so far. Where there are several control
    states their decisions are merged.

    Args:
      opt_state: Any tree that contains control states, as in `observe`.

    Returns:
      A `Decision`.

    Raises:
      TypeError: If there is no control state in the tree.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(optax.sgd(0.1), octl.guard())
      >>> bool(octl.last_decision(tx.init(jnp.ones(2))).stop == 0)
      True
    """
    found = [state.content() for state in states(opt_state)]
    if not found:
        raise TypeError(
            "`last_decision` found no control state. Pass the optimizer state of a "
            "`control`led optimizer, or what contains it."
        )
    decisions = [c.decision._replace(stop=c.stop) for c in found]
    merged = decisions[0]
    for decision in decisions[1:]:
        merged = merge(merged, decision)
    return merged


def _check_fingerprint(state: ControlState, i32: Any) -> None:
    theirs = np.unique(np.asarray(i32)[..., 0])
    ours = state.layout.fingerprint
    if np.any(theirs != ours):
        raise ValueError(
            f"This control state was packed by other controllers: its fingerprint "
            f"is {int(theirs[0])}, and {ours} is expected. Restore it with the "
            "controllers that wrote it, or start anew with `tx.init(params)`."
        )


def _reading(content: Content) -> Reading:
    decision = content.decision
    values = {n: h.value for n, h in content.hyperparams.items()}
    if content.lr_factor is not None:
        values["learning_rate"] = values["learning_rate"] * content.lr_factor
    factors = {**decision.knobs}
    factors["learning_rate"] = factors.get("learning_rate", 1) * decision.lr_scale
    force = {n: v * factors.get(n, np.float32(1)) for n, v in values.items()}
    known = content.signals.get("learning_rate")
    hidden = None if known is None else known * decision.lr_scale
    started = np.any(content.step > 0)
    observed = {n: o.value for n, o in content.observed.items() if np.any(o.seen)}
    return Reading(
        step=_plain(content.step),
        accepted=_plain(content.accepted),
        refused=_plain(content.refused),
        rewinds=_plain(content.rewinds),
        clipped=_plain(content.clipped),
        learning_rate=_plain(force.get("learning_rate", hidden)),
        lr_scale=_plain(decision.lr_scale),
        clip_norm=_plain(decision.clip_norm),
        skipped=_plain(decision.skip),
        alarms=_words(Alarm, decision.alarm),
        alarms_so_far=_words(Alarm, content.alarms),
        stop=_words(StopReason, content.stop),
        signals=_plain((content.signals if started else {}) | observed),
        hyperparams=_plain(force),
        knobs=_plain(decision.knobs),
        gauges=_plain(content.gauges),
    )


def _with_groups(readings: list[Reading]) -> Reading:
    fields = {**vars(readings[0]), "groups": tuple(readings)}
    return Reading(**fields)


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    if x is None or np.ndim(x):
        return x
    return np.asarray(x).item()


def _words(flags: Any, value: Any) -> tuple[Any, ...]:
    if np.ndim(value):
        return tuple(_words(flags, v) for v in value)
    return names(flags, int(value))
