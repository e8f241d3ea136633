"""Train many runs at once, each with a stop of its own."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, require_controller
from optaxctl._core.decisions import decide
from optaxctl.views._explain import explain
from optaxctl.views._until import Finished, Runner, Running, State, Step, runner

Lane = Any
Stopper = Controller | Callable[[Lane], Controller]


def population(
    init: Callable[[Lane], State],
    step: Step,
    stopper: Stopper | None = None,
    *,
    max_updates: int,
    by: Literal["map", "vmap"] | int = "map",
    log: Callable[[str], Any] | None = None,
) -> Callable[[Any], Finished]:
    """Trains a population, over seeds or configurations, each with its own stop.

    Every lane is the run of `until` from `init(lane)`, and ends by itself: what it
    computed until then stays bit for bit as it is, and a lane that meets a NaN disturbs
    no other. `by` says how they share the machine.

    * `"map"`: one after the other in one program. Each equals its single run bit for
      bit, none waits for another, and only one is in memory beside the results.
    * `"vmap"`: side by side in one program, which goes on until the last one stops.
      Sums run in another order, so a lane equals its single run to rounding.
    * A number n: side by side, n updates at a time. The host looks in between, and
      goes on with those that have not stopped once they fit into half the places or
      less, so one program is compiled for each power of two. This one can `log`.

    Side by side pays on a device that one run cannot fill, and a core of a CPU is
    filled by one: 32 MLPs took 1.0 times what they take one by one with `"map"`, and
    1.2 to 1.9 times with the others. By `"map"` and `"vmap"` the result is a pure
    function. Threads may call it with a part of the lanes each, one for each core (0.5
    to 0.7 times on two), and `jax.shard_map(..., check_vma=False)` on every device.

    Args:
      init: `init(lane) -> state`, pure and traceable: a seed, or a pytree of
        hyper-parameters, to where training begins.
      step: `step(state) -> (state, signals)`, as in `until`.
      stopper: A controller that moves `stop`, or a function from a lane to one, so that
        its numbers may differ from lane to lane. None as in `until`.
      max_updates: Updates after which a lane ends at the latest, >= 1.
      by: `"map"`, `"vmap"`, or updates between two looks of the host, >= 1.
      log: Called with a sentence for each lane that ends, such as `print`; only where
        the host looks.

    Returns:
      `train(lanes) -> Finished`, where `lanes` is a key array or any pytree with a
      leading axis, which all results have too. It is compiled at its first call, and by
      `"map"` and `"vmap"` pure.

    Raises:
      ValueError: If a number is out of range, or there is a `log` and no host to call
        it.
      TypeError: As in `until`.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> def step(w):
      ...     w = w - 0.4 * (w - 3)
      ...     return w, {"loss": jnp.maximum((w - 3) ** 2, 0.5)}
      >>> stopper = octl.stop.patience(2, monitor="loss")
      >>> train = octl.population(
      ...     lambda w: w, step, stopper, max_updates=100, by=3, log=print
      ... )
      >>> ended = train(jnp.array([0.0, 2.9]))
      Lane 1, update 3: loss has not beaten 0.5 for 2 updates; stopping.
      Lane 0, update 5: loss has not beaten 0.5 for 2 updates; stopping.
      >>> ended.updates.tolist()
      [5, 3]
    """
    checks.count("population", max_updates=max_updates)
    if isinstance(by, str):
        checks.one_of("population", "by", by, ("map", "vmap"))
        why = 'None with `by="map"` and "vmap", where the host sees no lane end'
        checks.require(log is None, "population", "log", log, why)
    else:
        checks.count("population", by=by)

    def pick(lane: Lane) -> Controller | None:
        if stopper is None or isinstance(stopper, Controller):
            return stopper
        chosen = stopper(lane) if callable(stopper) else stopper
        require_controller("population", "stopper", chosen)
        return chosen

    def parts(lane: Lane) -> Runner:
        return runner("population", step, pick(lane))

    def start(lane: Lane) -> Running:
        return parts(lane).start(init(lane))

    def advance(lane: Lane, run: Running, updates: Any) -> Running:
        return parts(lane).advance(run, updates)

    def finish(lane: Lane, run: Running) -> Finished:
        return parts(lane).finish(run)

    def whole(lane: Lane) -> Finished:
        return finish(lane, advance(lane, start(lane), max_updates))

    if by == "map":
        return jax.jit(lambda lanes: jax.lax.map(whole, lanes))
    if by == "vmap":
        return jax.jit(jax.vmap(whole))

    def ending(number: int, lane: Lane, run: Running) -> str:
        ended = jax.device_get(finish(lane, run)._replace(state=None))
        known = (pick(lane), ended.controller) if stopper is not None else ()
        words = explain(decide(stop=ended.stop), *known)
        return f"Lane {number}, update {ended.updates:,}: {words}"

    begin, end = jax.jit(jax.vmap(start)), jax.jit(jax.vmap(finish))
    forward = jax.jit(jax.vmap(advance, in_axes=(0, 0, None)))

    def train(lanes: Any) -> Finished:
        run = begin(lanes)
        numbers = np.arange(len(run.stop))  # of the lanes that are in the places
        live = np.ones(len(numbers), np.bool_)
        done, places = [], (lanes, run)
        for updates in range(by, max_updates + by, by):
            lane, run = places
            run = forward(lane, run, min(updates, max_updates))
            over = (np.asarray(run.stop) != 0) | (updates >= max_updates)
            if log is not None:
                for i in np.flatnonzero(live & over):
                    log(ending(numbers[i], *_take((lane, run._replace(state=None)), i)))
            places, live = (lane, run), ~over
            if not live.any():
                break
            size = 1 << int(live.sum() - 1).bit_length()
            if size < len(live):
                # The live ones first; those that have stopped fill what is left.
                order = np.argsort(over, kind="stable")
                done.append((numbers[order[size:]], _take(run, order[size:])))
                order = order[:size]
                places, numbers = _take(places, order), numbers[order]
                live = live[order]
        rows, runs = zip(*done, (numbers, places[1]), strict=True)
        return end(lanes, _join(runs, np.argsort(np.concatenate(rows))))

    return train


@jax.jit
def _take(tree: Any, rows: Any) -> Any:
    return jax.tree.map(lambda x: x[rows], tree)


@jax.jit
def _join(trees: Any, order: Any) -> Any:
    return jax.tree.map(lambda *xs: jnp.concatenate(xs)[order], *trees)
