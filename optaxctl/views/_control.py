"""Put a controller around an optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxctl._core import checks
from optaxctl._core.combinators import fresh_only
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.decisions import Decision
from optaxctl._core.flags import Alarm
from optaxctl._core.packing import Layout
from optaxctl._core.types import F32, Flag
from optaxctl.views._gate import gate
from optaxctl.views._inject import Injected
from optaxctl.views._signals import COMPUTED, gradient_norm, handed_over
from optaxctl.views._state import (
    Content,
    ControlState,
    Hyperparameter,
    advance,
    initial,
)

Params = Any
Schedule = Callable[[Any], Any]


class Control(optax.GradientTransformationExtraArgs):
    """What `control` returns: a transformation that can also apply what it computes.

    `apply(grads, state, params, **extra) -> (params, state)` is reached through
    `apply_gradients`.
    """

    apply: Callable[..., tuple[Params, ControlState]]

    @classmethod
    def of(cls, init: Any, update: Any, apply: Any) -> "Control":
        """Builds one from its three functions."""
        self = cls(init, update)
        self.apply = apply
        return self


def control(
    inner: optax.GradientTransformation | Injected,
    controller: Controller,
    *,
    observed: Sequence[str] = (),
    record: Sequence[str] = (),
    learning_rate: float | Schedule | None = None,
    axis_name: str | None = None,
) -> Control:
    """Wraps an optimizer so that a controller decides what each step does.

    In every update the global gradient norm n is measured once in float32, the
    controller is asked, and its decision d is carried out:

        g -> g * min(1, d.clip_norm / n)     before the optimizer
        u -> u * d.lr_scale                  after it, or within it by `inject`
        d.skip -> u = -0.0 and the optimizer's state stays bit for bit as it was

    A NaN `clip_norm` and a NaN or negative `lr_scale` are ignored, with the alarm
    `INVALID_DECISION`. `rewind` and `stop` are carried out of the step for the loop to
    answer, `stop` latched. Controllers see every step, refused ones too.

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
      learning_rate: The rate of a ready-made `inner`, a number or a schedule, so that
        it can be read; it changes nothing. Not with `inject`, which knows it.
      axis_name: The axis of `shard_map` over which signals are averaged and the
        squares of sharded gradients summed.

    Returns:
      A `GradientTransformationExtraArgs` that goes wherever an optimizer goes.

    Raises:
      TypeError: If `controller` is not a controller; while tracing, if a signal is
        missing, is not a scalar, or differs between devices.
      ValueError: If names clash or two schedules own the learning rate.

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
    _validate(inner, controller, observed, record, learning_rate)
    held = fresh_only(controller, frozenset(observed))
    steps = controller.signals - frozenset(observed) - {"step", "accepted"}
    measured = sorted(steps | set(record) | {"grad_norm"})
    injected = inner if isinstance(inner, Injected) else None
    rate = None if learning_rate is None else _as_schedule(learning_rate)

    def hyperparams(step: Any) -> dict[str, F32]:
        return injected.values(step) if injected else {}

    def start() -> Content:
        return initial(
            held,
            measured=measured,
            observed=observed,
            hyperparams=lambda: hyperparams(jnp.zeros((), jnp.int32)),
        )

    layout = Layout(jax.eval_shape(start))

    def base(values: dict[str, F32]) -> optax.GradientTransformationExtraArgs:
        if injected:
            return injected.build(values)
        return optax.with_extra_args_support(inner)

    def init(params: Params) -> ControlState:
        content = start()
        values = {name: h.value for name, h in content.hyperparams.items()}
        return ControlState(layout, *layout.pack(content), base(values).init(params))

    def measure(
        updates: Any, content: Content, extra: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, F32]]:
        """Returns every signal of this step and the hyper-parameters in force."""
        given = handed_over(extra, axis_name)
        if clash := sorted(set(observed) & given.keys()):
            raise TypeError(
                f"`{clash[0]}` is declared as observed and was handed to `update` too. "
                "Take it out of `observed`, or hand it over by `observe` only."
            )
        values = {
            name: jnp.where(h.held, h.value, rule)
            for (name, h), rule in zip(
                content.hyperparams.items(),
                hyperparams(content.accepted).values(),
                strict=True,
            )
        }
        known = {"learning_rate": rate(content.accepted)} if rate else {}
        signals = {
            "step": content.step,
            "accepted": content.accepted,
            "grad_norm": gradient_norm(updates, axis_name),
            **known,
            **{n: v for n, v in values.items() if n == "learning_rate"},
            **{n: o.value for n, o in content.observed.items()},
            **{f"fresh/{n}": o.fresh for n, o in content.observed.items()},
            **given,
        }
        for name in (*measured, *observed):
            signals[name] = read(signals, name, "control")
        return signals, values

    def decide_step(
        updates: Any, state: ControlState, extra: dict[str, Any]
    ) -> tuple[Decision, Content, dict[str, F32], F32]:
        content = state.content()
        signals, values = measure(updates, content, extra)
        decision, content = advance(content, held, signals)
        decision = _valid(decision)
        norm = signals["grad_norm"]
        clips = norm > decision.clip_norm
        factor = jnp.where(clips, decision.clip_norm / norm, 1)
        was_clipped = clips & ~jnp.asarray(decision.skip)
        content = content._replace(
            decision=decision,
            alarms=content.alarms | decision.alarm,
            clipped=content.clipped + was_clipped.astype(jnp.int32),
            hyperparams={
                n: Hyperparameter(values[n], h.held)
                for n, h in content.hyperparams.items()
            },
        )
        return decision, content, values, factor

    def in_force(values: dict[str, F32], decision: Decision) -> dict[str, F32]:
        factors = {"learning_rate": decision.lr_scale}
        for name, knob in decision.knobs.items():
            factors[name] = factors.get(name, 1) * knob
        return {n: v * factors[n] if n in factors else v for n, v in values.items()}

    def frozen_update(
        updates: Any, state: ControlState, params: Params, extra: dict[str, Any]
    ) -> tuple[Any, ControlState]:
        decision, content, values, factor = decide_step(updates, state, extra)
        ok = ~jnp.asarray(decision.skip)
        tx = injected.build(in_force(values, decision), ok)
        still = jax.tree.map(lambda g: jnp.where(ok, _scale(g, factor), -0.0), updates)
        moved, inner_state = tx.update(still, state.inner, params, **extra)
        outer = jnp.float32(1) if "learning_rate" in values else decision.lr_scale
        moved = jax.tree.map(
            lambda u, g: jnp.where(ok, _scale(u, outer), -0.0).astype(g.dtype),
            moved,
            updates,
        )
        kept = jax.tree.map(lambda n, o: _keep(ok, n, o), inner_state, state.inner)
        return moved, ControlState(layout, *layout.pack(content), kept)

    def gated(apply: bool) -> Callable[..., tuple[Any, ControlState]]:
        def run(
            updates: Any, state: ControlState, params: Params, **extra: Any
        ) -> tuple[Any, ControlState]:
            decision, content, values, factor = decide_step(updates, state, extra)
            tx = base(in_force(values, decision))
            outer = jnp.float32(1) if "learning_rate" in values else decision.lr_scale

            def move(updates: Any, inner_state: Any, params: Params) -> Any:
                clipped = jax.tree.map(lambda g: _scale(g, factor), updates)
                moved, new = tx.update(clipped, inner_state, params, **extra)
                moved = jax.tree.map(lambda u: _scale(u, outer), moved)
                new = jax.tree.map(lambda n, o: _cast(n, o), new, inner_state)
                return (optax.apply_updates(params, moved) if apply else moved), new

            move = jax.jit(move, inline=True)
            operands = (updates, state.inner, params)
            shape = None if apply else jax.eval_shape(move, *operands)[0]

            def keep(updates: Any, inner_state: Any, params: Params) -> Any:
                del updates
                still = jax.tree.map(lambda s: jnp.full(s.shape, -0.0, s.dtype), shape)
                return (params if apply else still), inner_state

            out, inner_state = gate(~jnp.asarray(decision.skip), move, keep, *operands)
            return out, ControlState(layout, *layout.pack(content), inner_state)

        return run

    def update(
        updates: Any, state: ControlState, params: Params = None, **extra: Any
    ) -> tuple[Any, ControlState]:
        if injected and injected.frozen is not None:
            return frozen_update(updates, state, params, extra)
        return gated(apply=False)(updates, state, params, **extra)

    def apply(
        updates: Any, state: ControlState, params: Params, **extra: Any
    ) -> tuple[Params, ControlState]:
        if injected and injected.frozen is not None:
            moved, state = frozen_update(updates, state, params, extra)
            return optax.apply_updates(params, moved), state
        return gated(apply=True)(updates, state, params, **extra)

    return Control.of(init, update, apply)


def _validate(
    inner: Any, controller: Any, observed: Any, record: Any, learning_rate: Any
) -> None:
    if not isinstance(controller, Controller):
        hint = " Did you forget to call it?" if callable(controller) else ""
        raise TypeError(
            f"`control(controller=...)` must be a controller, got {controller!r}.{hint}"
        )
    for argument, names in (("observed", observed), ("record", record)):
        if isinstance(names, str):
            raise TypeError(f"`control({argument}={names!r})` must be a tuple of names.")
        if taken := sorted(COMPUTED & set(names)):
            raise ValueError(
                f"`control({argument}=...)` names `{taken[0]}`, which is measured here."
            )
    if both := sorted(set(observed) & set(record)):
        raise ValueError(
            f"`{both[0]}` is in `observed` and in `record`; observed signals are "
            "always recorded."
        )
    if isinstance(inner, Injected):
        checks.require(
            learning_rate is None,
            "control",
            "learning_rate",
            learning_rate,
            "None with `inject`, which owns the rate",
        )
        if callable(inner.rules.get("learning_rate")) and "accepted" in controller.signals:
            raise ValueError(
                "Two schedules own the learning rate: the one in `inject(...)` and the "
                "one in `lr.follow`. Make one of them a number."
            )


def _as_schedule(rate: float | Schedule) -> Schedule:
    return rate if callable(rate) else lambda step: jnp.asarray(rate, jnp.float32)


def _valid(decision: Decision) -> Decision:
    """Replaces factors that make no sense by neutral ones, and says so."""
    scale, norm = decision.lr_scale, decision.clip_norm
    good_scale = jnp.isfinite(scale) & (scale >= 0)
    good_norm = norm >= 0
    bad = ~(good_scale & good_norm)
    return decision._replace(
        lr_scale=jnp.where(good_scale, scale, 1),
        clip_norm=jnp.where(good_norm, norm, jnp.inf),
        alarm=decision.alarm | jnp.where(bad, int(Alarm.INVALID_DECISION), 0),
    )


def _scale(x: Any, factor: F32) -> Any:
    return x * factor.astype(x.dtype)


def _cast(new: Any, old: Any) -> Any:
    return jnp.asarray(new).astype(jnp.asarray(old).dtype)


def _keep(ok: Flag, new: Any, old: Any) -> Any:
    """Selects scalars such as counts; the moments are frozen by their coefficients."""
    new = _cast(new, old)
    return jnp.where(ok, new, old) if new.ndim == 0 else new


def apply_gradients(
    tx: optax.GradientTransformation,
    grads: Any,
    opt_state: Any,
    params: Params,
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
    if isinstance(tx, Control):
        return tx.apply(grads, opt_state, params, **extra)
    tx = optax.with_extra_args_support(tx)
    updates, opt_state = tx.update(grads, opt_state, params, **extra)
    return optax.apply_updates(params, updates), opt_state
