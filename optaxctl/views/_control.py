"""Put a controller around an optimizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax

from optaxctl._core.cadence import fresh_only
from optaxctl._core.controllers import Controller, calls, shape
from optaxctl._core.packing import Layout
from optaxctl._core.placement import beside
from optaxctl._core.types import F32, I32, Flag
from optaxctl.views._actuate import freeze, gate
from optaxctl.views._inject import Injected, with_extra_args
from optaxctl.views._measure import Loop, Orders
from optaxctl.views._refusals import refuse_rivals, validate
from optaxctl.views._ring import noted, with_ring
from optaxctl.views._snapshots import Snapshots, filed, flown, restored
from optaxctl.views._state import ControlState, flying

Params = Any
Schedule = Callable[[Any], Any]


@dataclass(frozen=True)
class _Step:
    """One step of a controlled optimizer, with or without applying it."""

    run: Callable[..., tuple[Any, Any]]

    def __call__(
        self, updates: Any, state: Any, params: Params = None, **extra: Any
    ) -> tuple[Any, Any]:
        return self.run(updates, state, params, extra, apply=False)

    def apply(
        self, grads: Any, state: Any, params: Params, **extra: Any
    ) -> tuple[Params, Any]:
        return self.run(grads, state, params, extra, apply=True)


class Control(optax.GradientTransformationExtraArgs):
    """What `control` returns: a transformation that can also apply what it computes.

    It has no fields of its own, so that it stays what it is when a framework takes it
    apart and puts it together again as a tuple; `apply_gradients` finds the way to
    apply on `update`.
    """


def control(
    inner: optax.GradientTransformation | Injected,
    controller: Controller,
    *,
    observed: Sequence[str] = (),
    record: Sequence[str] = (),
    learning_rate: float | Schedule | None = None,
    snapshots: Snapshots | None = None,
    rows: int | None = None,
    axis_name: str | None = None,
) -> Control:
    """Wraps an optimizer so that a controller decides what each step does.

    In every update the global gradient norm n is measured once in float32, the
    controller is asked, and its decision d is carried out:

        g -> g * min(1, d.clip_norm / n)     before the optimizer
        u -> u * d.lr_scale                  after it, or within it by `inject`
        d.skip -> u = -0.0 and the optimizer's state stays bit for bit as it was

    A NaN `clip_norm` and a NaN or negative `lr_scale` are ignored, with the alarm
    `INVALID_DECISION`; so is a non-finite knob, and a schedule that is not finite keeps
    its last value. `stop` changes nothing here: it is carried out of the step, latched,
    for the loop to answer. So is `rewind` unless there are `snapshots`: then the step
    is refused, and parameters and state become those of a snapshot, bit for bit. With
    `apply_gradients` they do so in this step. With plain updates this one is -p and the
    next is the snapshot, whatever its gradient; that one is counted as refused, and it
    needs `control` outermost and finite parameters. Controllers see every step but
    that, refused ones too.

    Signals. Computed here: `grad_norm` (before clipping), `step` (calls so far),
    `accepted` (calls not refused), and `learning_rate` (before `lr_scale`) where it is
    known. Handed over in the step: `value=` is `loss`, any other number by its name.
    Declared in `observed` and handed over by `observe`: consumed by the next update; a
    controller that reads one keeps its levels in between. A signal that a controller
    reads and nobody provides is a `TypeError` while tracing. Extra arguments are passed
    on to `inner` as they are.

    Args:
      inner: Any Optax transformation, or better an `inject`ed one.
      controller: What decides; several go through `together`.
      observed: Names of signals that arrive by `observe`.
      record: Names of further signals to keep for `read`.
      learning_rate: The rate of a ready-made `inner`, a number or a schedule of
        accepted steps, so that it can be read, also as a signal; `inner` does not see
        it. Not with `inject`, which knows the rate, nor around `MultiSteps`, whose
        schedules count other steps.
      snapshots: How often to keep a healthy state on the device to go back to, and how
        many; needs `params` in every update.
      rows: Of how many last steps to keep the row for `octl.rows`, >= 1, where a step
        cannot return `octl.row`. One more array, written in place.
      axis_name: The axis of `shard_map` over which signals are averaged and the
        squares of sharded gradients summed. Under `check_vma=False` JAX cannot tell
        shards from copies: reduce the gradients first.

    Returns:
      A `GradientTransformationExtraArgs` that goes wherever an optimizer goes.

    Raises:
      TypeError: If `controller` is not a controller; while tracing, if a signal is
        missing, is not a scalar, or differs between devices.
      ValueError: If names clash, or two own the learning rate.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(optax.adam(0.1), octl.guard())
      >>> params = {"w": jnp.ones(2)}
      >>> state = tx.init(params)
      >>> bad = {"w": jnp.array([1.0, jnp.nan])}
      >>> updates, state = tx.update(bad, state, params, value=0.7)
      >>> octl.read(state).refused
      1

    References:
      Unlike `optax.apply_if_finite` it never gives in and accepts a NaN, it sees the
      loss, and it reads the gradients once.
    """
    validate(inner, controller, observed, record, learning_rate, snapshots, rows)
    injected = inner if isinstance(inner, Injected) else None
    loop = Loop(
        controller=fresh_only(controller, frozenset(observed)),
        observed=tuple(observed),
        record=tuple(record),
        injected=injected,
        rate=_as_schedule(learning_rate),
        axis_name=axis_name,
        snapshots=snapshots,
    )
    fields, _ = shape(loop.controller)
    layout = Layout(jax.eval_shape(loop.start), calls(controller), fields)

    def build(hyperparams: dict[str, F32]) -> optax.GradientTransformationExtraArgs:
        if isinstance(inner, Injected):
            return inner.build(hyperparams)
        return with_extra_args(inner)

    def init(params: Params) -> Any:
        content = loop.start()
        values = {name: h.value for name, h in content.hyperparams.items()}
        state = build(values).init(params)
        if "lr_scale" in fields:
            refuse_rivals(state, owned="learning_rate" in values)
        slots = snapshots.fill(params, state) if snapshots else None
        whole = ControlState(layout, *layout.pack(content), state, slots)
        return beside(params, with_ring(whole, rows))

    def move(
        orders: Orders, updates: Any, inner: Any, params: Any, extra: Any, apply: bool
    ) -> tuple[Any, Any]:
        if injected and injected.frozen is not None:
            out, inner = freeze(injected, orders, updates, inner, params, extra)
            return optax.apply_updates(params, out) if apply else out, inner
        tx = build(orders.hyperparams)
        return gate(tx, orders, updates, inner, params, extra, apply=apply)

    def run(
        updates: Any, state: ControlState, params: Params, extra: Any, *, apply: bool
    ) -> tuple[Any, ControlState]:
        inner, slots, ring = state.inner, state.snapshots or (), state.rows
        if snapshots and params is None:
            raise TypeError(
                "`control(snapshots=...)` keeps the parameters, so `update` must be "
                "given them: `tx.update(grads, state, params)`."
            )

        def file(take: Flag, newest: I32) -> Flag:
            nonlocal slots
            slots, broken = filed(take, newest, slots, params, inner, axis_name)
            return broken

        orders, content = loop.turn(updates, state.content(), extra, file)
        back, landing, newest = orders.back, orders.landing, orders.newest
        if snapshots:
            inner = restored(back, newest, slots, inner, 1)
        if snapshots and apply:
            params = restored(back | landing, newest, slots, params, 0)
        out, inner = move(orders, updates, inner, params, extra, apply)
        if snapshots and not apply:
            out = flown(back, landing, newest, slots, out, params)
        packed = layout.pack(flying(content, back & (not apply)), state.i32[0])
        return out, noted(ControlState(layout, *packed, inner, slots or None, ring))

    return Control(init, _Step(run))


def apply_gradients(
    tx: optax.GradientTransformation,
    grads: Any,
    opt_state: Any,
    params: Params,
    /,
    *,
    value: Any = None,
    **signals: Any,
) -> tuple[Params, Any]:
    """Updates and applies in one, cheaper for a ready-made optimizer under `control`.

    The parameters are moved inside the branch that refuses a step, so no update is
    materialised: 1.1 times the memory traffic of bare AdamW instead of 1.4.

    Args:
      tx: A transformation; `control` must be outermost to be cheaper.
      grads: The gradients.
      opt_state: The state of `tx`.
      params: The parameters.
      value: The loss, a scalar.
      **signals: Further signals and extra arguments.

    Returns:
      The new parameters and the new state. A refused step returns the old parameters
      bit for bit.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(optax.sgd(0.5), octl.guard())
      >>> params = jnp.array([1.0])
      >>> state = tx.init(params)
      >>> params, state = octl.apply_gradients(
      ...     tx, jnp.array([1.0]), state, params, value=0.3
      ... )
      >>> float(params[0])
      0.5
    """
    extra = signals if value is None else {"value": value, **signals}
    if isinstance(tx.update, _Step):
        return tx.update.apply(grads, opt_state, params, **extra)
    updates, opt_state = with_extra_args(tx).update(grads, opt_state, params, **extra)
    return optax.apply_updates(params, updates), opt_state


def _as_schedule(rate: float | Schedule | None) -> Schedule | None:
    return rate if rate is None or callable(rate) else lambda step: rate
