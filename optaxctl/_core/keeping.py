"""Keep the best parameters of a run."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.improvement import BestState, improvement
from optaxctl._core.placement import beside
from optaxctl._core.types import F32, Flag, Mode


class KeptState(NamedTuple):
    """State of `keep_best`."""

    record: BestState  # the best value and updates since
    params: Any  # a copy of the parameters that reached it


class KeepBest(NamedTuple):
    """The functions that `keep_best` returns, pure and traceable.

    Attributes:
      init: `init(params) -> KeptState`, holding a copy of `params`.
      update: `update(value, params, state) -> (improved, state)`.
      value: `value(state) -> F32`, the best value so far; infinite before the first.
      params: `params(state)`, a copy of the parameters that reached it, on the device.
    """

    init: Callable[[Any], KeptState]
    update: Callable[[Any, Any, KeptState], tuple[Flag, KeptState]]
    value: Callable[[KeptState], F32]
    params: Callable[[KeptState], Any]


def keep_best(
    mode: Mode = "min", *, memory: Literal["device", "host"] | None = "device"
) -> KeepBest:
    """Keeps the parameters with the best value of a metric.

    A value is better when it is strictly lower (min) or higher (max) than the best so
    far, so of equal ones the first is kept; the first finite value always is better, a
    NaN or infinite one never. Until then the initial parameters are kept.

    The best is at hand at any time, however the run ends: `keeper.params(state)` gives
    a copy, so that training on it may donate it. Shapes, dtypes and shardings are those
    of the parameters. Under `vmap` each lane keeps its own.

    What is kept is part of the state, so a checkpoint of the state has it on disk. To
    keep it on disk alone, set `memory=None` and save where `update` says `improved`.

    Args:
      mode: Whether lower ("min") or higher ("max") values are better.
      memory: Where the copy lies: on the "device", or in the "host"'s memory, where
        every update fetches and returns it, leaf by leaf; a loop inside `vmap` cannot
        carry that. With None there is no copy, and `params` is None.

    Returns:
      The functions.

    Raises:
      ValueError: If an argument is none of its values.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> keeper = octl.keep_best()
      >>> state = keeper.init(jnp.array([0.0]))
      >>> for step, loss in enumerate((0.9, 0.5, float("nan"), 0.7)):
      ...     _, state = keeper.update(loss, jnp.array([1.0 * step]), state)
      >>> float(keeper.value(state)), keeper.params(state).tolist()
      (0.5, [1.0])
    """
    test = improvement("keep_best", mode=mode, atol=0, rtol=0, nonfinite="count")
    checks.one_of("keep_best", "memory", memory, ("device", "host", None))

    def store(params: Any) -> Any:
        return (
            jax.device_put(params, jax.memory.Space.Host)
            if memory == "host"
            else params
        )

    def fetch(params: Any) -> Any:
        return (
            jax.device_put(params, jax.memory.Space.Device)
            if memory == "host"
            else params
        )

    def init(params: Any) -> KeptState:
        kept = None if memory is None else store(_copy(params))
        return beside(params, KeptState(test.init(), kept))

    def update(value: Any, params: Any, state: KeptState) -> tuple[Flag, KeptState]:
        value = jnp.asarray(value, jnp.float32)
        improved, record = test.update(value, state.record)
        if memory is None:
            return improved, KeptState(record, None)
        # Selected on the device: a branch with results in host memory has no `vmap`.
        kept = jax.tree.map(
            lambda new, old: jnp.where(improved, new, old), params, fetch(state.params)
        )
        return improved, KeptState(record, store(kept))

    return KeepBest(
        init,
        update,
        lambda state: test.to_beat(state.record),
        lambda state: _copy(fetch(state.params)),
    )


def _copy(params: Any) -> Any:
    """A copy, so that what it was made from can be donated, and so can itself."""
    return jax.tree.map(lambda p: jnp.array(p), params)
