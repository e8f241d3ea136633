"""Say what was decided, and why, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from optaxctl._core.controllers import Controller
from optaxctl._core.decisions import Decision
from optaxctl._core.flags import Alarm, StopReason, sentences


def explain(
    decision: Decision,
    controller: Controller | None = None,
    state: Any = None,
    *,
    gauges: Mapping[str, Any] | None = None,
) -> str:
    """Says what a decision asks for and why, in short full sentences.

    With the controller and its state it says too what the rules of patience wait for:
    the signal, the value to beat and the updates that are left. In `control` the state
    is out of reach, and `read(opt_state).gauges` takes its place. Where nothing is
    asked for and nothing is waited for it says that the run goes on.

    Args:
      decision: What `update` returned, or `last_decision`.
      controller: The controller that took it.
      state: Its state after that.
      gauges: What the controller shows, in place of its state.

    Returns:
      One line of text. It fetches from the device, so call it outside of `jit`.

    Raises:
      ValueError: If there is a controller without state and gauges, or the reverse.

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
    if (controller is None) != (state is None and gauges is None):
        raise ValueError(
            "`explain` needs a controller together with its state, or with the gauges "
            "that it shows."
        )
    if controller is not None and gauges is None:
        gauges = controller.gauges(state)
    decision, shown = jax.device_get((decision, gauges or {}))
    said, stop = list(_asked(decision)), int(decision.stop)
    rules = list(_patient(controller, shown)) if controller is not None else []
    over = [rule for rule in rules if rule[1] == 0]
    # Of several that are over, some may be muted; only a single one is surely the one.
    alone = len(over) == 1 and stop & StopReason.PATIENCE
    for signal, left, bar, stale in rules:
        if not np.isfinite(bar):
            said.append(f"There is no {signal} to beat yet; {_updates(left)} left.")
        elif left:
            said.append(f"{signal} must beat {bar:.6g} within {_updates(left)}.")
        else:
            ending = "; stopping." if alone else "."
            said.append(
                f"{signal} has not beaten {bar:.6g} for {_updates(stale)}{ending}"
            )
    if alone:
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
        yield f"The learning rate is multiplied by {decision.lr_scale:.6g}."
    if np.isfinite(decision.clip_norm):
        yield f"The gradient norm is limited to {decision.clip_norm:.6g}."
    for name, factor in decision.knobs.items():
        if factor != 1:
            yield f"{name} is multiplied by {factor:.6g}."


def _patient(
    controller: Controller, gauges: Mapping[str, Any]
) -> Iterator[tuple[str, int, float, int]]:
    """The rules of patience: what each is about, what is left, the bar, and the wait.

    Others show a value to beat too, but only these stop for want of it.
    """
    for name in gauges:
        path = name.removesuffix("stale")
        if path != name and f"{path}patience_left" in gauges:
            left = int(gauges[f"{path}patience_left"])
            bar = float(gauges[f"{path}to_beat"])
            yield _signal(controller, path.split("/")[:-1]), left, bar, gauges[name]


def _signal(controller: Controller, path: list[str]) -> str:
    """What the rule at a path reads, or its name where that is not known."""
    for name in path:
        if name not in controller.parts:
            return path[-1]
        controller = controller.parts[name]
    return " and ".join(sorted(controller.signals))


def _updates(n: Any) -> str:
    return "1 update" if n == 1 else f"{int(n):,} updates"
