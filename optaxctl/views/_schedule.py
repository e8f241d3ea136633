"""A controller as a stateful schedule, for `optax.inject_hyperparams`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optaxctl._core.controllers import Controller, calls, restricted
from optaxctl._core.packing import Layout
from optaxctl._core.types import F32
from optaxctl.views._signals import handed_over
from optaxctl.views._state import Content, ControlState, asked, counted, initial


class _ControlledSchedule:
    """An `optax.schedules.StatefulSchedule`."""

    def __init__(self, controller: Controller, base: Callable[[Any], Any]):
        self._controller = restricted(controller, "as_schedule", "lr_scale")
        self._base = base
        self._measured = sorted(controller.signals - {"step", "accepted"})
        self._layout = Layout(jax.eval_shape(self._start), calls(controller))

    def init(self) -> ControlState:
        return self._packed(self._start(), None)

    def update(self, state: ControlState, **extra: Any) -> ControlState:
        return self._packed(self._advance(state, extra)[1], state.i32[0])

    def __call__(self, state: ControlState, **extra: Any) -> F32:
        if not extra and set(self._measured) - {"learning_rate"}:
            # Optax asks once before the first step, when nothing is measured yet.
            content = state.content()
            return self._base(content.accepted) * content.decision.lr_scale
        return self._advance(state, extra)[0]

    def _packed(self, content: Content, fingerprint: Any) -> ControlState:
        arrays = self._layout.pack(content, fingerprint)
        return ControlState(self._layout, *arrays, optax.EmptyState())

    def _start(self) -> Content:
        return initial(self._controller, measured=self._measured)

    def _advance(self, state: ControlState, extra: Any) -> tuple[F32, Content]:
        content = state.content()
        rate = jnp.asarray(self._base(content.accepted), jnp.float32)
        signals = {
            "step": content.step,
            "accepted": content.accepted,
            "learning_rate": rate,
            **handed_over(extra, None),
        }
        decision, new = asked(content, self._controller, signals)
        content = counted(content, self._controller, signals, decision, new)
        return rate * decision.lr_scale, content


def as_schedule(
    controller: Controller, base: float | Callable[[Any], Any]
) -> optax.schedules.StatefulSchedule:
    """Makes a learning rate that a controller moves, as an Optax schedule with state.

    rate_t = base(t) * lr_scale_t, where lr_scale_t already answers the loss of step t.

    Args:
      controller: One that moves `lr_scale` alone and reads no gradient norm, such as
        `lr.plateau(100, monitor="loss")`.
      base: The rate to scale: a number, or a schedule of the steps so far.

    Returns:
      A `StatefulSchedule` for any hyper-parameter of `optax.inject_hyperparams`, where
      the rate is then visible; pass the loss as `value=`.

    Raises:
      TypeError: If the controller moves another field, which would be ignored here;
        while tracing, if it reads a signal that is not given.

    Example:
      >>> import optax, optaxctl as octl
      >>> rate = octl.as_schedule(octl.lr.plateau(100, monitor="loss"), 3e-4)
      >>> tx = optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    """
    schedule = base if callable(base) else lambda step: base
    return _ControlledSchedule(controller, schedule)
