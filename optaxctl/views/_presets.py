"""Combinations that have earned a name."""

from typing import Any

import optax

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, together
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.persistence import lasting
from optaxctl._core.response import respond
from optaxctl._core.rollback import rollback
from optaxctl.clip import auto
from optaxctl.views._control import Control, control
from optaxctl.views._inject import Injected
from optaxctl.views._snapshots import Snapshots
from optaxctl.watch import excess, nonfinite, outlier, spike


@factory
def guard(*monitors: str) -> Controller:
    """Refuses every step in which a monitored signal is NaN or infinite.

    The parameters and the optimizer's state stay bit for bit as they were, however
    many such steps come in a row: unlike `optax.apply_if_finite` it never gives in.

    Args:
      *monitors: The signals to read; `loss` and `grad_norm` if none is given.

    Returns:
      A controller that moves `skip` and `alarm`:
      `respond(watch.nonfinite(*monitors), skip=True)`.

    Example:
      >>> import optaxctl as octl
      >>> c = octl.guard()
      >>> decision, _ = c.update({"loss": float("inf"), "grad_norm": 1.0}, c.init())
      >>> bool(decision.skip)
      True
    """
    return respond(nonfinite(*monitors), skip=True)


@factory
def skip_spikes(
    threshold: float = 6.0,
    *,
    window: int = 128,
    min_updates: int = 63,
    ddof: int = 1,
    eps: float = 0.0,
) -> Controller:
    """Refuses a step whose loss or gradient norm stands out, as other trainers do.

    A step is refused if it is not finite, or if its loss or its gradient norm is more
    than `threshold` standard deviations above the mean of the last `window` ones,
    refused ones included: `guard` and two of `watch.outlier`. For a rule without a
    blind start, on logarithms, take `respond(watch.spike(6.0), skip=True)`.

    Args:
      threshold: How many standard deviations above the mean are too many, > 0.
      window: How many values to keep, >= 2.
      min_updates: Values to wait for, >= 2 and <= `window`.
      ddof: 1 to divide the squares by n - 1, 0 by n.
      eps: Least standard deviation, >= 0, in units of the signal.

    Returns:
      A controller that moves `skip` and `alarm`. It reads `loss` and `grad_norm`.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optax, optaxctl as octl
      >>> tx = octl.control(optax.adamw(3e-4), octl.skip_spikes())

    References:
      The defaults are those of OLMo-core's `SkipStepOptimizer` and of MaxText's
      `skip_step_on_spikes`; Levanter's `skip_bad_steps` has `ddof=0, eps=1e-6`. In all
      three one NaN refuses every step for the whole window.
    """
    rule: dict[str, Any] = {
        "window": window,
        "min_updates": min_updates,
        "ddof": ddof,
        "eps": eps,
    }
    watch = together(
        loss=outlier(threshold, **rule),
        norm=outlier(threshold, monitor="grad_norm", **rule),
    )
    return together(guard=guard(), spikes=respond(watch, skip=True))


def supervise(
    inner: optax.GradientTransformation | Injected,
    controller: Controller | None = None,
    *,
    snapshots: Snapshots | None = None,
    give_up_updates: int = 50,
    axis_name: str | None = None,
) -> Control:
    """Wraps an optimizer for a run left alone: a sound preset of `control`.

    - A step with a NaN or infinite loss or gradient norm is refused.
    - A step whose loss or gradient norm is more than 6 standard deviations above its
      recent past, on a log scale, is refused.
    - A gradient norm that stands out is clipped, by `clip.auto`.
    - With `snapshots`, a loss that has been broken, 4 standard deviations above its
      past, or 10 times its first value for 3 steps in a row leads to a `rollback`.
    - After `give_up_updates` non-finite steps in a row, or when going back has not
      helped seven times, it asks to stop.

    A healthy run sees outliers clipped and little else; the learning rate is lowered
    by `rollback` only. For other thresholds, compose `control` yourself.

    Args:
      inner: Any Optax transformation, or an `inject`ed one.
      controller: What else to run, beside these, for example a reactive learning rate.
      snapshots: How often to keep a healthy state to go back to; see `Snapshots` for
        what it takes. None: bad steps are refused, but nothing is undone.
      give_up_updates: Non-finite steps in a row before asking to stop, >= 1.
      axis_name: As in `control`.

    Returns:
      A transformation; pass the loss, which must be positive to be watched for
      spikes, as `value=`.

    Raises:
      ValueError: If `give_up_updates` is not a whole number >= 1.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.supervise(optax.adamw(3e-4))
      >>> params = jnp.ones(2)
      >>> state = tx.init(params)
      >>> updates, state = tx.update(jnp.ones(2), state, params, value=0.7)
      >>> octl.read(state).stop
      ()
    """
    checks.count("supervise", give_up_updates=give_up_updates)
    parts = {
        "guard": guard(),
        "loss_spike": respond(spike(6.0), skip=True),
        "gradient_spike": respond(spike(6.0, monitor="grad_norm"), skip=True),
        "clip": auto(),
        "give_up": respond(
            lasting(give_up_updates, nonfinite()), stop=StopReason.NONFINITE
        ),
    }
    if snapshots is not None:
        broken = together(nan=nonfinite("loss"), high=spike(4.0), far=excess(10.0))
        parts["recover"] = rollback(lasting(3, broken))
    if controller is not None:
        parts["yours"] = controller
    return control(inner, together(**parts), snapshots=snapshots, axis_name=axis_name)
