"""Train until a controller asks to stop, as one `lax.while_loop`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, require_controller, restricted
from optaxctl._core.flags import StopReason
from optaxctl._core.types import I32
from optaxctl.views._state import states

State = Any
Step = Callable[[State], tuple[State, dict[str, Any]]]


class Finished(NamedTuple):
    """A run that has ended. Of several runs every array has a leading axis.

    Attributes:
      state: What the last `step` returned.
      updates: Calls of `step`.
      stop: Why it ended, as bits of `StopReason`; never 0.
      controller: The last state of the stopper.
      gauges: What the stopper shows, such as `patience_left`.
    """

    state: State
    updates: I32
    stop: I32
    controller: Any
    gauges: dict[str, Any]


class Running(NamedTuple):
    """A run on its way: what the loop carries."""

    state: State
    controller: Any
    updates: I32
    stop: I32


class Runner(NamedTuple):
    """A run in three parts, so that it can be interrupted.

    Attributes:
      start: `start(state) -> Running`.
      advance: `advance(running, updates) -> Running`, until a stop or that many updates
        since the start.
      finish: `finish(running) -> Finished`.
    """

    start: Callable[[State], Running]
    advance: Callable[[Running, Any], Running]
    finish: Callable[[Running], Finished]


def until(
    step: Step, stopper: Controller | None = None, *, max_updates: int
) -> Callable[[State], Finished]:
    """Repeats a step until a controller asks to stop, inside the compiled program.

    The stopper is updated after every step with the signals that it returned, and with
    `step` and `accepted`, the updates before this one. The first `stop` that is not 0
    ends the run; so does that of a `control`led optimizer in the state. After
    `max_updates` updates without one the reason is `StopReason.BUDGET`.

    One update is one call of `step`. Where a validation costs more than a step, let
    `step` be an epoch: a `lax.scan` over batches and one evaluation.

    The run is a `lax.while_loop`. Under `vmap` the lanes that have stopped stay bit for
    bit as they are and the loop ends with the last one; under `lax.map` each equals its
    single run bit for bit. A stopper may be built inside, from traced numbers.

    Args:
      step: `step(state) -> (state, signals)`, pure and traceable; the signals are
        scalars by name. State that it needs, such as a PRNG key, is in `state`.
      stopper: A controller that moves `stop`, such as `stop.patience`; an alarm that
        it raises is not kept. None where a `control`led optimizer in the state asks to
        stop.
      max_updates: Updates after which the run ends at the latest, >= 1.

    Returns:
      `run(state) -> Finished`, a pure function. It compiles with what it is called in;
      alone, wrap it in `jax.jit`.

    Raises:
      ValueError: If `max_updates` is not a whole number >= 1.
      TypeError: If the stopper moves another field, which would be ignored here; while
        tracing, if `step` leaves out a signal that it reads, or if nothing could stop.

    Example:
      >>> import jax, jax.numpy as jnp, optaxctl as octl
      >>> def step(w):
      ...     w = w - 0.4 * (w - 3)
      ...     return w, {"loss": jnp.maximum((w - 3) ** 2, 0.5)}
      >>> stopper = octl.stop.patience(2, monitor="loss")
      >>> run = octl.until(step, stopper, max_updates=100)
      >>> ended = jax.jit(jax.vmap(run))(jnp.array([0.0, 2.9]))
      >>> ended.updates.tolist(), octl.StopReason(int(ended.stop[0])).name
      ([5, 3], 'PATIENCE')
    """
    checks.count("until", max_updates=max_updates)
    if stopper is not None:
        require_controller("until", "stopper", stopper)
    parts = runner("until", step, stopper)
    return lambda state: parts.finish(parts.advance(parts.start(state), max_updates))


def runner(who: str, step: Step, stopper: Controller | None) -> Runner:
    """Builds the parts of a run for `who`, which names it in errors."""
    if stopper is not None:
        restricted(stopper, who, "stop", "alarm")

    def start(state: State) -> Running:
        if stopper is None and not states(state):
            raise TypeError(
                f"`{who}` got no stopper and its state holds no `control`led "
                "optimizer, so nothing could ever ask to stop."
            )
        controller = () if stopper is None else stopper.init()
        return Running(state, controller, jnp.zeros((), jnp.int32), _latched(state))

    def body(run: Running) -> Running:
        state, signals = step(run.state)
        stop, controller = _latched(state), run.controller
        if stopper is not None:
            given = {"step": run.updates, "accepted": run.updates, **signals}
            _require(who, stopper, given)
            decision, controller = stopper.update(given, controller)
            stop |= decision.stop
        return Running(state, controller, run.updates + 1, stop)

    def advance(run: Running, updates: Any) -> Running:
        live = lambda run: (run.stop == 0) & (run.updates < updates)
        return jax.lax.while_loop(live, body, run)

    def finish(run: Running) -> Finished:
        stop = jnp.where(run.stop == 0, int(StopReason.BUDGET), run.stop)
        gauges = {} if stopper is None else stopper.gauges(run.controller)
        return Finished(run.state, run.updates, stop, run.controller, gauges)

    return Runner(start, advance, finish)


def _latched(state: State) -> I32:
    """Returns what controlled optimizers in the state have asked for so far."""
    stop = jnp.zeros((), jnp.int32)
    for found in states(state):
        stop |= found.content().stop
    return stop


def _require(who: str, stopper: Controller, given: dict[str, Any]) -> None:
    for name in sorted(stopper.signals - given.keys()):
        raise TypeError(
            f"The stopper of `{who}` reads the signal `{name}`, which `step` does not "
            f"return ({', '.join(sorted(given))})." + checks.did_you_mean(name, given)
        )
