"""Views with one effect each, to put where it belongs in `optax.chain`."""

import optax

from optaxctl._core.controllers import Controller, restricted
from optaxctl.views._control import Control, control


def clip_by(controller: Controller, *, axis_name: str | None = None) -> Control:
    """Clips what flows through by the `clip_norm` that a controller decides.

    g -> g * min(1, clip_norm / |g|), with the norm measured in float32. A NaN limit is
    ignored; a NaN gradient passes through unless `guard` refuses it.

    Args:
      controller: One that moves `clip_norm` alone, such as `clip.zscore`.
      axis_name: As in `control`.

    Returns:
      A transformation for `optax.chain`, before the optimizer.

    Raises:
      TypeError: If the controller moves another field, which would be ignored here;
        while tracing, if it reads a signal that is not given.

    Example:
      >>> import optax, optaxctl as octl
      >>> tx = optax.chain(octl.clip_by(octl.clip.zscore()), optax.adam(1e-3))
    """
    view = restricted(controller, "clip_by", "clip_norm")
    return control(optax.identity(), view, axis_name=axis_name)


def scale_by(controller: Controller, *, axis_name: str | None = None) -> Control:
    """Scales what flows through by the `lr_scale` that a controller decides.

    Put it after the optimizer: a rate applied to gradients is undone by Adam.

    Args:
      controller: One that moves `lr_scale` alone, such as `lr.plateau`.
      axis_name: As in `control`.

    Returns:
      A transformation for `optax.chain`, after the optimizer.

    Raises:
      TypeError: If the controller moves another field, which would be ignored here;
        while tracing, if it reads a signal that is not given.

    Example:
      >>> import optax, optaxctl as octl
      >>> rate = octl.lr.plateau(100, monitor="loss")
      >>> tx = optax.chain(optax.adam(1e-3), octl.scale_by(rate))
    """
    view = restricted(controller, "scale_by", "lr_scale")
    return control(optax.identity(), view, axis_name=axis_name)


def skip_if(
    controller: Controller,
    inner: optax.GradientTransformation,
    *,
    axis_name: str | None = None,
) -> Control:
    """Leaves `inner` untouched in the steps that a controller refuses.

    A refused step emits -0.0, so that adding it changes no bit, and keeps the state of
    `inner` bit for bit.

    Args:
      controller: One that moves `skip`, and `alarm` if it likes, such as `guard()`.
      inner: Any transformation.
      axis_name: As in `control`.

    Returns:
      A transformation.

    Raises:
      TypeError: If the controller moves another field, which would be ignored here;
        while tracing, if it reads a signal that is not given.

    Example:
      >>> import optax, optaxctl as octl
      >>> tx = octl.skip_if(octl.guard("grad_norm"), optax.adam(1e-3))
    """
    view = restricted(controller, "skip_if", "skip", "alarm")
    return control(inner, view, axis_name=axis_name)
