"""What a view keeps in the optimizer state, packed into two arrays."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core.controllers import Controller, Signals, State, shape
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, moved
from optaxctl._core.flags import Alarm
from optaxctl._core.packing import Layout
from optaxctl._core.types import F32, I32, Flag
from optaxctl.views._snapshots import Health, Slots, Snapshots


class Observed(NamedTuple):
    """A signal that arrives from outside, by `observe`."""

    value: F32
    fresh: Flag  # whether no update has consumed it yet
    seen: Flag  # whether there has been one


class Hyperparameter(NamedTuple):
    """A hyper-parameter that control owns: its value before scales and knobs."""

    value: F32
    held: Flag  # whether it was set by hand, and so no longer follows its rule


class Content(NamedTuple):
    """Everything a view carries from step to step, beside the inner state."""

    step: I32  # calls of update
    accepted: I32  # calls that were not refused
    refused: I32
    rewinds: I32
    clipped: I32
    stop: I32  # bits of every stop asked for so far: the latch
    alarms: I32  # bits of every alarm so far
    decision: Decision  # of the last step
    signals: dict[str, F32]  # of the last step
    observed: dict[str, Observed]
    hyperparams: dict[str, Hyperparameter]
    lr_factor: F32 | None  # set by hand, where control owns the learning rate
    gauges: dict[str, Any]
    controller: State
    health: Health | None  # where there are snapshots


class ControlState(NamedTuple):
    """State of every view: the packed `Content` and the inner optimizer's state.

    `layout` is static: names, shapes and offsets of what `f32` and `i32` hold. `rows`
    are the words of the last steps, where they are kept.
    """

    layout: Layout
    f32: jax.Array
    i32: jax.Array
    inner: Any
    snapshots: Slots | None = None
    rows: jax.Array | None = None

    def arrays(self) -> tuple[jax.Array, jax.Array]:
        """Returns the packed arrays, out of the variables that NNX keeps them in."""
        return _value(self.f32), _value(self.i32)

    def ring(self) -> Any:
        """Returns the rows that are kept, likewise, or None."""
        return _value(self.rows)

    def content(self) -> Content:
        """Unpacks the arrays; leading axes, as under `vmap`, stay in front."""
        return self.layout.unpack(*self.arrays())


def initial(
    controller: Controller,
    *,
    measured: Iterable[str],
    observed: Iterable[str] = (),
    hyperparams: Mapping[str, F32] | None = None,
    snapshots: Snapshots | None = None,
) -> Content:
    """Returns the content before the first step."""
    state = controller.init()
    _, neutral = shape(controller)
    one = jnp.ones((), jnp.float32)

    def zero() -> I32:
        return jnp.zeros((), jnp.int32)

    def no() -> Flag:
        return jnp.zeros((), jnp.bool_)

    return Content(
        step=zero(),
        accepted=zero(),
        refused=zero(),
        rewinds=zero(),
        clipped=zero(),
        stop=zero(),
        alarms=zero(),
        decision=neutral,
        signals={name: jnp.zeros((), jnp.float32) for name in measured},
        observed={
            n: Observed(jnp.zeros((), jnp.float32), no(), no()) for n in observed
        },
        hyperparams={
            n: Hyperparameter(v, no()) for n, v in (hyperparams or {}).items()
        },
        lr_factor=one if "learning_rate" in (hyperparams or {}) else None,
        gauges=dict(controller.gauges(state)),
        controller=state,
        health=snapshots.start() if snapshots else None,
    )


def asked(
    content: Content, controller: Controller, signals: Signals, *, alarm: I32 | int = 0
) -> tuple[Decision, State]:
    """Asks the controller; `alarm` joins what it raises."""
    decision, state = controller.update(signals, content.controller)
    decision = _valid(decision)
    return decision._replace(alarm=decision.alarm | alarm), state


def counted(
    content: Content,
    controller: Controller,
    signals: Signals,
    decision: Decision,
    state: State,
) -> Content:
    """Returns the content after a step that was decided so."""
    ok = ~jnp.asarray(decision.skip)
    return Content(
        step=increment(content.step),
        accepted=jnp.where(ok, increment(content.accepted), content.accepted),
        refused=jnp.where(ok, content.refused, increment(content.refused)),
        rewinds=jnp.where(decision.rewind, increment(content.rewinds), content.rewinds),
        clipped=content.clipped,
        stop=content.stop | decision.stop,
        alarms=content.alarms | decision.alarm,
        decision=decision,
        signals={n: jnp.asarray(signals[n], jnp.float32) for n in content.signals},
        observed={
            n: Observed(o.value, jnp.zeros_like(o.fresh), o.seen)
            for n, o in content.observed.items()
        },
        hyperparams=content.hyperparams,
        lr_factor=content.lr_factor,
        gauges=dict(controller.gauges(state)),
        controller=state,
        health=content.health,
    )


def landed(content: Content) -> Content:
    """Counts a step that only sets parameters: it measured nothing worth knowing."""
    no = jnp.zeros((), jnp.bool_)
    return content._replace(
        step=increment(content.step),
        refused=increment(content.refused),
        decision=content.decision._replace(skip=~no, rewind=no),
    )


def flying(content: Content, away: Flag) -> Content:
    """Notes, where there are snapshots, that the next step must land on one."""
    if content.health is None:
        return content
    return content._replace(health=content.health._replace(landing=away))


def states(tree: Any) -> list[ControlState]:
    """Returns every control state in a tree, an outer one before those inside it."""
    leaves = jax.tree.leaves(tree, is_leaf=_is_state)
    found = [leaf for leaf in leaves if _is_state(leaf)]
    return [s for state in found for s in (state, *states(state.inner))]


def write(tree: Any, values: Callable[[Layout], dict[str, Any]]) -> Any:
    """Returns `tree` with scalars replaced, by path, in every control state.

    Where the arrays live in variables, as in `nnx.Optimizer`, the variables are
    written in place and the same object is returned.
    """

    def visit(state: Any) -> Any:
        if not _is_state(state):
            return state
        f32, i32 = state.layout.write(*state.arrays(), values(state.layout))
        inner = jax.tree.map(visit, state.inner, is_leaf=_is_state)
        if not hasattr(state.f32, "set_value"):
            return state._replace(f32=f32, i32=i32, inner=inner)
        state.f32.set_value(f32)
        state.i32.set_value(i32)
        return state

    mapped = jax.tree.map(visit, tree, is_leaf=_is_state)
    in_place = any(hasattr(state.f32, "set_value") for state in states(tree))
    return tree if in_place else mapped


def _valid(decision: Decision) -> Decision:
    """Replaces factors that make no sense by neutral ones, and raises an alarm."""
    fields = moved(decision)
    scale, norm, bad = decision.lr_scale, decision.clip_norm, jnp.zeros((), jnp.bool_)
    if "lr_scale" in fields:
        good = jnp.isfinite(scale) & (scale >= 0)
        scale, bad = jnp.where(good, scale, 1), bad | ~good
    if "clip_norm" in fields:
        good = norm >= 0
        norm, bad = jnp.where(good, norm, jnp.inf), bad | ~good
    knobs = {}
    for name, knob in decision.knobs.items():
        good = jnp.isfinite(knob)
        knobs[name], bad = jnp.where(good, knob, 1), bad | ~good
    alarm = decision.alarm | invalid(bad)
    return decision._replace(lr_scale=scale, clip_norm=norm, alarm=alarm, knobs=knobs)


def invalid(bad: Flag) -> I32:
    """Returns the alarm for a factor or a rate that makes no sense."""
    return jnp.where(bad, jnp.int32(Alarm.INVALID_DECISION), 0)


def _is_state(x: Any) -> bool:
    return isinstance(x, ControlState)


def _value(x: Any) -> Any:
    return x.get_value() if hasattr(x, "get_value") else x
