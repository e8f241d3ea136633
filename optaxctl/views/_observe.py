"""Hand over what was measured outside the step, and set what control owns."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.checks import did_you_mean
from optaxctl._core.packing import Layout
from optaxctl.views._state import ControlState, states, write


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
      TypeError: If no control state in the tree has declared a name, or a value has
        another shape.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> stopper = octl.stop.patience(3)
      >>> tx = octl.control(optax.sgd(0.1), stopper, observed=("val_loss",))
      >>> state = octl.observe(tx.init(jnp.ones(2)), val_loss=0.4)
    """
    found = states(opt_state)
    if not found:
        raise TypeError(
            "`observe` found no control state. Pass the optimizer state of a "
            "`control`led optimizer, or what contains it."
        )
    declared = sorted({name for s in found for name in s.layout.keys("observed")})
    for name in values:
        if name not in declared:
            raise TypeError(
                f"`observe` got `{name}`, which is not among the signals declared "
                f"({', '.join(declared) or 'none'}).{did_you_mean(name, declared)} "
                f'Declare it with `control(..., observed=("{name}",))`.'
            )
        _check_shape("observe", name, values[name], found)

    def arrivals(layout: Layout) -> dict[str, Any]:
        scalars = {}
        for name in sorted(values.keys() & set(layout.keys("observed"))):
            path = f"observed/{name}"
            scalars |= {f"{path}/value": values[name], f"{path}/fresh": True}
            scalars[f"{path}/seen"] = True
        return scalars

    return write(opt_state, arrivals)


def set_lr(opt_state: Any, learning_rate: Any) -> Any:
    """Sets the learning rate by hand; a compiled step is not traced again.

    The rate takes the place of the number or schedule in `inject(...)`; the scales of
    the controllers go on multiplying it. Where several parts of a tree own a rate, as
    under `optax.partition`, all get it: pass one part to set that alone.

    Args:
      opt_state: Any tree that contains control states, as in `observe`.
      learning_rate: The new rate, >= 0; or None to follow the number or schedule again.
        An array of the shape of the leading axes where the state is vmapped.

    Returns:
      The tree with the rate in it; for NNX the same object.

    Raises:
      TypeError: If no control state in the tree owns a learning rate, or it has
        another shape.
      ValueError: If the rate is negative or not finite.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(octl.inject(optax.sgd, learning_rate=0.1), octl.guard())
      >>> state = octl.set_lr(tx.init(jnp.ones(2)), 0.02)
      >>> round(octl.read(state).learning_rate, 6)
      0.02
    """
    owners = _owners("set_lr", opt_state)
    held = learning_rate is not None
    if held:
        checks.at_least(0, "set_lr", several=True, learning_rate=learning_rate)
        _check_shape("set_lr", "learning_rate", learning_rate, owners)

    def rate(layout: Layout) -> dict[str, Any]:
        if not _owns_rate(layout):
            return {}
        value = {"hyperparams/learning_rate/value": learning_rate} if held else {}
        return {**value, "hyperparams/learning_rate/held": held}

    return write(opt_state, rate)


def set_lr_scale(opt_state: Any, factor: Any) -> Any:
    """Scales the learning rate by hand; a compiled step is not traced again.

        rate in force = (number or schedule of `inject`, or `set_lr`) * factor * scales

    It stays, through checkpoints too, until another is set, and takes the place of the
    last one: 0.5 and then 1 is the old rate again. The controllers see the scaled rate
    as `learning_rate`; what they call `lr_scale` is theirs alone.

    Args:
      opt_state: Any tree that contains control states, as in `observe`.
      factor: >= 0; 1 leaves the rate as it is. An array of the shape of the leading
        axes where the state is vmapped.

    Returns:
      The tree with the factor in it; for NNX the same object.

    Raises:
      TypeError: If no control state in the tree owns a learning rate, or the factor has
        another shape.
      ValueError: If the factor is negative or not finite.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(octl.inject(optax.sgd, learning_rate=0.5), octl.guard())
      >>> state = octl.set_lr_scale(tx.init(jnp.ones(2)), 0.25)
      >>> octl.read(state).learning_rate
      0.125
    """
    owners = _owners("set_lr_scale", opt_state)
    checks.at_least(0, "set_lr_scale", several=True, factor=factor)
    _check_shape("set_lr_scale", "factor", factor, owners)
    scaled = lambda layout: {"lr_factor": factor} if _owns_rate(layout) else {}
    return write(opt_state, scaled)


def _owners(who: str, opt_state: Any) -> list[ControlState]:
    found = [state for state in states(opt_state) if _owns_rate(state.layout)]
    if not found:
        raise TypeError(
            f"`{who}` found no learning rate that control owns. Build the optimizer "
            "with `control(inject(optax.adamw, learning_rate=...), ...)`."
        )
    return found


def _owns_rate(layout: Layout) -> bool:
    return "learning_rate" in layout.keys("hyperparams")


def _check_shape(who: str, name: str, value: Any, found: list[ControlState]) -> None:
    """A scalar goes into every lane; an array has one value for each."""
    shapes = {(), *(state.arrays()[0].shape[:-1] for state in found)}
    if jnp.shape(value) not in shapes:
        words = " or ".join(map(str, sorted(shapes)))
        raise TypeError(
            f"`{who}({name}=...)` must have shape {words}, got {jnp.shape(value)}."
        )
