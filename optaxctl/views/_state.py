"""What a view keeps in the optimizer state, packed into two arrays."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core.controllers import Controller, Signals, State
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide, moved
from optaxctl._core.flags import Alarm
from optaxctl._core.packing import Layout
from optaxctl._core.types import F32, I32, Flag


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
    gauges: dict[str, Any]
    controller: State


class ControlState(NamedTuple):
    """State of every view: the packed `Content` and the inner optimizer's state.

    `layout` is static: names, shapes and offsets of what `f32` and `i32` hold.
    """

    layout: Layout
    f32: jax.Array
    i32: jax.Array
    inner: Any

    def content(self) -> Content:
        """Unpacks the arrays; leading axes, as under `vmap`, stay in front."""
        return self.layout.unpack(_value(self.f32), _value(self.i32))

    def layout_names(self, field: str, name: str | None = None) -> list[str]:
        """Returns the names under a dict field of `Content`, without unpacking."""
        paths = [slot.name.split("/") for slot in self.layout.slots]
        names = sorted({path[1] for path in paths if path[0] == field})
        return names if name is None else [n for n in names if n == name]

    def replace(self, content: Content) -> "ControlState":
        """Packs `content` in place of what was there."""
        return ControlState(self.layout, *self.layout.pack(content), self.inner)


def initial(
    controller: Controller,
    *,
    measured: Iterable[str],
    observed: Iterable[str] = (),
    hyperparams: Callable[[], dict[str, F32]] = dict,
) -> Content:
    """Returns the content before the first step."""
    state = controller.init()
    shapes = jax.eval_shape(controller.update, _abstract(controller), state)[0]

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
        decision=jax.tree.map(jnp.array, decide(knobs=dict.fromkeys(shapes.knobs, 1))),
        signals={name: jnp.zeros((), jnp.float32) for name in measured},
        observed={
            n: Observed(jnp.zeros((), jnp.float32), no(), no()) for n in observed
        },
        hyperparams={n: Hyperparameter(v, no()) for n, v in hyperparams().items()},
        gauges=dict(controller.gauges(state)),
        controller=state,
    )


def advance(
    content: Content,
    controller: Controller,
    signals: Signals,
) -> tuple[Decision, Content]:
    """Asks the controller, and counts the step."""
    decision, state = controller.update(signals, content.controller)
    decision = _valid(decision)
    ok = ~jnp.asarray(decision.skip)
    new = Content(
        step=increment(content.step),
        accepted=jnp.where(ok, increment(content.accepted), content.accepted),
        refused=jnp.where(ok, content.refused, increment(content.refused)),
        rewinds=jnp.where(decision.rewind, increment(content.rewinds), content.rewinds),
        clipped=content.clipped,
        stop=content.stop | decision.stop,
        alarms=content.alarms | decision.alarm,
        decision=decision,
        signals={n: signals[n] for n in content.signals},
        observed={
            n: Observed(o.value, jnp.zeros_like(o.fresh), o.seen)
            for n, o in content.observed.items()
        },
        hyperparams=content.hyperparams,
        gauges=dict(controller.gauges(state)),
        controller=state,
    )
    return decision, new


def states(tree: Any) -> list[ControlState]:
    """Returns every control state in a tree, outermost only, in tree order."""
    leaves = jax.tree.leaves(tree, is_leaf=_is_state)
    return [leaf for leaf in leaves if _is_state(leaf)]


def map_states(fn: Callable[[ControlState], ControlState], tree: Any) -> Any:
    """Returns `tree` with `fn` applied to every control state in it.

    Where the arrays live in variables, as in `nnx.Optimizer`, the variables are
    written in place and the same object is returned.
    """

    def visit(leaf: Any) -> Any:
        if not _is_state(leaf):
            return leaf
        new = fn(leaf)
        if not hasattr(leaf.f32, "set_value"):
            return new
        leaf.f32.set_value(new.f32)
        leaf.i32.set_value(new.i32)
        return leaf

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
    alarm = decision.alarm | jnp.where(bad, int(Alarm.INVALID_DECISION), 0)
    return decision._replace(lr_scale=scale, clip_norm=norm, alarm=alarm)


def _is_state(x: Any) -> bool:
    return isinstance(x, ControlState)


def _value(x: Any) -> Any:
    return x.get_value() if hasattr(x, "get_value") else x


def _abstract(controller: Controller) -> dict[str, Any]:
    """Signals of the right names and types, for tracing without a step."""
    integers = {"step", "accepted"}
    names = {n: jnp.int32 if n in integers else jnp.float32 for n in controller.signals}
    flags = {f"fresh/{name}": jnp.bool_ for name in controller.signals}
    return {n: jax.ShapeDtypeStruct((), t) for n, t in (names | flags).items()}
