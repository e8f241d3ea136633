"""Hand over what was measured outside the step, and set what control owns."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core.checks import did_you_mean
from optaxctl.views._state import (
    ControlState,
    Hyperparameter,
    Observed,
    map_states,
    states,
)


def observe(opt_state: Any, **values: Any) -> Any:
    """Hands metrics measured elsewhere, such as an evaluation, to the controllers.

    The values wait in the state, so they are checkpointed, and the next update
    consumes them once. Until then, and in later updates without a new value, the
    controllers that read them keep their levels. A second `observe` before the next
    update replaces the first.

    Args:
      opt_state: Any tree that contains control states: an optimizer state, a
        TrainState, a tuple of both, an `nnx.Optimizer`.
      **values: Scalars by the names declared in `control(..., observed=...)`; of the
        shape of the leading axes where the state is vmapped. NaN is a measurement.

    Returns:
      The tree with the values in it. For NNX the variables are written in place and the
      same object is returned.

    Raises:
      TypeError: If no control state in the tree has declared a name.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> stopper = octl.stop.patience(3)
      >>> tx = octl.control(optax.sgd(0.1), stopper, observed=("val_loss",))
      >>> state = octl.observe(tx.init(jnp.ones(2)), val_loss=0.4)
    """
    found = states(opt_state)
    declared = sorted({n for s in found for n in s.layout_names("observed")})
    for name in values:
        if name not in declared:
            raise TypeError(
                f"`observe` got `{name}`, which is not among the signals declared "
                f"({', '.join(declared) or 'none'}).{did_you_mean(name, declared)} "
                f'Declare it with `control(..., observed=("{name}",))`.'
            )

    def write(state: ControlState) -> ControlState:
        content = state.content()
        new = {
            name: _seen(old, values[name]) if name in values else old
            for name, old in content.observed.items()
        }
        return state.replace(content._replace(observed=new))

    return map_states(write, opt_state)


def set_lr(opt_state: Any, learning_rate: Any) -> Any:
    """Sets the learning rate by hand; a compiled step is not traced again.

    The rate takes the place of the number or schedule in `inject(...)`; the scales of
    the controllers go on multiplying it.

    Args:
      opt_state: Any tree that contains control states, as in `observe`.
      learning_rate: The new rate, > 0; or None to follow the number or schedule again.
        An array of the shape of the leading axes where the state is vmapped.

    Returns:
      The tree with the rate in it; for NNX the same object.

    Raises:
      TypeError: If no control state in the tree owns a learning rate.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(octl.inject(optax.sgd, learning_rate=0.1), octl.guard())
      >>> state = octl.set_lr(tx.init(jnp.ones(2)), 0.02)
      >>> round(octl.read(state).learning_rate, 6)
      0.02
    """
    if not any(
        s.layout_names("hyperparams", "learning_rate") for s in states(opt_state)
    ):
        raise TypeError(
            "`set_lr` found no learning rate that control owns. Build the optimizer "
            "with `control(inject(optax.adamw, learning_rate=...), ...)`."
        )

    def write(state: ControlState) -> ControlState:
        content = state.content()
        if "learning_rate" not in content.hyperparams:
            return state
        old = content.hyperparams["learning_rate"]
        held = jnp.full_like(old.held, learning_rate is not None)
        value = old.value if learning_rate is None else learning_rate
        new = Hyperparameter(_like(old.value, value), held)
        hyperparams = {**content.hyperparams, "learning_rate": new}
        return state.replace(content._replace(hyperparams=hyperparams))

    return map_states(write, opt_state)


def _seen(old: Observed, value: Any) -> Observed:
    yes = jnp.ones_like(old.fresh)
    return Observed(_like(old.value, value), yes, yes)


def _like(old: Any, value: Any) -> Any:
    return jnp.broadcast_to(jnp.asarray(value, jnp.float32), jnp.shape(old))
