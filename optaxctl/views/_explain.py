"""Say what was decided, and why, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from optaxctl._core.controllers import Controller
from optaxctl._core.decisions import Decision
from optaxctl._core.flags import Alarm, StopReason, sentences


def explain(
    decision: Decision, controller: Controller | None = None, state: Any = None
) -> str:
    """Says what a decision asks for and why, in short full sentences.

    With the controller and its state it says too what the rules of patience are waiting
    for: the signal, the value to beat and the updates that are left. Where nothing is
    asked for and nothing is waited for it says that the run goes on.

    Args:
      decision: What `update` returned, or `last_decision`.
      controller: The controller that took it.
      state: Its state after that.

    Returns:
      One line of text. It fetches from the device, so call it outside of `jit`.

    Raises:
      ValueError: If only one of `controller` and `state` is given.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.patience(2)
      >>> state = stopper.init()
      >>> for val_loss in (0.5, 0.0388, 0.04, 0.05):
      ...     decision, state = stopper.update({"val_loss": val_loss}, state)
      ...     print(octl.explain(decision, stopper, state))
      val_loss must beat 0.5 within 2 updates.
      val_loss must beat 0.0388 within 2 updates.
      val_loss must beat 0.0388 within 1 update.
      val_loss has not beaten 0.0388 for 2 updates; stopping.
    """
    if (controller is None) != (state is None):
        raise ValueError("`explain` needs the controller and its state, or neither.")
    decision, state = jax.device_get((decision, state))
    stop = int(decision.stop)
    said = list(_asked(decision))
    if controller is not None:
        gauges = controller.gauges(state)
        for name in gauges:
            path = name.removesuffix("patience_left")
            if path != name and f"{path}to_beat" in gauges:
                about = _signal(controller, path.split("/")[:-1])
                said.append(_patience(about, gauges, path, stop))
    if any(text.endswith("; stopping.") for text in said):
        stop &= ~int(StopReason.PATIENCE)
    if stop:
        said += [*sentences(StopReason, stop), "Stopping."]
    return " ".join(said) or "The run goes on."


def _asked(decision: Decision) -> Iterator[str]:
    yield from sentences(Alarm, int(decision.alarm))
    if decision.skip:
        yield "The step is refused."
    if decision.rewind:
        yield "The run goes back to its last healthy state."
    if decision.lr_scale != 1:
        yield f"The learning rate is multiplied by {decision.lr_scale:.4g}."
    if np.isfinite(decision.clip_norm):
        yield f"The gradient norm is limited to {decision.clip_norm:.4g}."
    for name, factor in decision.knobs.items():
        if factor != 1:
            yield f"{name} is multiplied by {factor:.4g}."


def _signal(controller: Controller, path: list[str]) -> str:
    """What the rule at a path reads, or its name where combinators hide it."""
    for name in path:
        if name not in controller.parts:
            return path[-1]
        controller = controller.parts[name]
    return " and ".join(sorted(controller.signals))


def _patience(signal: str, gauges: Mapping[str, Any], path: str, stop: int) -> str:
    left, bar = int(gauges[f"{path}patience_left"]), float(gauges[f"{path}to_beat"])
    stale = gauges.get(f"{path}stale")
    if not np.isfinite(bar):
        return f"{signal} has had no finite value yet; {_updates(left)} left."
    if left or stale is None:
        return f"{signal} must beat {bar:.4g} within {_updates(left)}."
    ending = "; stopping." if stop & StopReason.PATIENCE else "."
    return f"{signal} has not beaten {bar:.4g} for {_updates(stale)}{ending}"


def _updates(n: Any) -> str:
    return "1 update" if n == 1 else f"{int(n):,} updates"
