"""A Flax linen `TrainState` whose optimizer sees the loss."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax

from optaxctl._core.checks import did_you_mean
from optaxctl.views._control import apply_gradients
from optaxctl.views._state import ControlState

try:
    from flax.linen.fp8_ops import OVERWRITE_WITH_GRADIENT
    from flax.training import train_state
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        '`optaxctl.linen` needs Flax: pip install "optaxctl[flax]".', name=error.name
    ) from error


class TrainState(train_state.TrainState):
    """Flax's `TrainState` with a way for the loss to reach the optimizer.

    The stock `apply_gradients` hands nothing but gradients to the optimizer, so a
    controller that reads the loss cannot work there. Everything else is as in Flax:
    subclass it for further fields, with any Optax optimizer.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(optax.sgd(0.5), octl.guard())
      >>> params = {"w": jnp.ones(2)}
      >>> state = octl.linen.TrainState.create(apply_fn=None, params=params, tx=tx)
      >>> state = state.apply_gradients(grads={"w": jnp.ones(2)}, value=float("nan"))
      >>> octl.read(state).refused, state.params["w"].tolist()
      (1, [1.0, 1.0])
    """

    def apply_gradients(
        self,
        *,
        grads: Any,
        value: Any = None,
        signals: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Self:
        """Returns the state after one step.

        Args:
          grads: The gradients, of the structure of `params`.
          value: The loss, a scalar.
          signals: Further signals, by name.
          **changes: New values of further fields. They are made in a refused step
            too; `last_decision(state).skip` tells, for those that should not be.

        Returns:
          The state with `step` one higher. In a refused step the parameters stay bit
          for bit as they were.

        Raises:
          TypeError: If `changes` names no field; while tracing, if a signal that a
            controller reads is missing.
        """
        fields = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in fields:
                raise TypeError(
                    f"`apply_gradients` got `{name}`, which is no field of "
                    f"`{type(self).__name__}`.{did_you_mean(name, ['value', *fields])} "
                    f'A signal goes into `signals={{"{name}": ...}}`.'
                )
        overwritten = _overwritten(grads)
        params, opt_state = apply_gradients(
            self.tx,
            grads["params"] if overwritten else grads,
            self.opt_state,
            self.params["params"] if overwritten else self.params,
            value=value,
            **(signals or {}),
        )
        if overwritten:
            key = OVERWRITE_WITH_GRADIENT
            kept = _unless_refused(opt_state, grads[key], self.params[key])
            params = {"params": params, key: kept}
        return self.replace(
            step=self.step + 1, params=params, opt_state=opt_state, **changes
        )

    @classmethod
    def create(
        cls,
        *,
        apply_fn: Callable[..., Any] | None,
        params: Any,
        tx: optax.GradientTransformation,
        **fields: Any,
    ) -> Self:
        """Returns the state before the first step.

        Args:
          apply_fn: Usually `model.apply`.
          params: The parameters.
          tx: Any Optax transformation.
          **fields: Values of further fields.

        Returns:
          The state. Its `step` is an int32 array from the start, where Flax's begins as
          a Python int, so the type of the state never changes.
        """
        state = super().create(apply_fn=apply_fn, params=params, tx=tx, **fields)
        return state.replace(step=jnp.zeros((), jnp.int32))


def _overwritten(grads: Any) -> bool:
    """Tells whether some gradients are new values, as the scales of fp8 layers are."""
    return isinstance(grads, Mapping) and OVERWRITE_WITH_GRADIENT in grads


def _unless_refused(opt_state: Any, new: Any, old: Any) -> Any:
    if not isinstance(opt_state, ControlState):
        return new
    skip = opt_state.content().decision.skip
    return jax.tree.map(lambda n, o: jnp.where(skip, o, n), new, old)
