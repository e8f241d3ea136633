"""Keep the best parameters of a run on the device."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core.improvement import BestState, improvement
from optaxctl._core.types import F32, Flag, Mode


class KeptState(NamedTuple):
    """State of `keep_best`."""

    record: BestState  # the best value and updates since
    params: Any  # a copy of the parameters that reached it


class KeepBest(NamedTuple):
    """The pair that `keep_best` returns.

    Attributes:
      init: `init(params) -> KeptState`, holding a copy of `params`.
      update: `update(value, params, state) -> (improved, state)`, pure and traceable.
      value: `value(state) -> F32`, the best value so far.
    """

    init: Callable[[Any], KeptState]
    update: Callable[[Any, Any, KeptState], tuple[Flag, KeptState]]
    value: Callable[[KeptState], F32]


def keep_best(mode: Mode = "min") -> KeepBest:
    """Keeps the parameters with the best value of a metric.

    A value is better when it is strictly lower (min) or higher (max) than the best so
    far; the first finite value always is, a NaN or infinite one never. Until then the
    initial parameters are kept.

    Args:
      mode: Whether lower ("min") or higher ("max") values are better.

    Returns:
      A pair of pure functions and a reader of the best value.

    Raises:
      ValueError: If `mode` is neither.

    Example:
      >>> import jax.numpy as jnp, optaxctl as octl
      >>> keeper = octl.keep_best()
      >>> state = keeper.init(jnp.array([0.0]))
      >>> for step, loss in enumerate((0.9, 0.5, float("nan"), 0.7)):
      ...     _, state = keeper.update(loss, jnp.array([1.0 * step]), state)
      >>> float(keeper.value(state)), float(state.params[0])
      (0.5, 1.0)
    """
    test = improvement("keep_best", mode=mode, atol=0, rtol=0, nonfinite="count")

    def init(params: Any) -> KeptState:
        # A copy, so that the state and the live parameters can both be donated.
        return KeptState(test.init(), jax.tree.map(lambda p: jnp.array(p), params))

    def update(value: Any, params: Any, state: KeptState) -> tuple[Flag, KeptState]:
        value = jnp.asarray(value, jnp.float32)
        improved, record = test.update(value, state.record)
        kept = jax.tree.map(
            lambda new, old: jnp.where(improved, new, old), params, state.params
        )
        return improved, KeptState(record, kept)

    return KeepBest(init, update, lambda state: test.to_beat(state.record))
