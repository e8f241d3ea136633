"""Streaming statistics of one scalar, as (init, update) pairs.

`update(x, state) -> (estimate, state)`: the estimate describes the values *before* x,
so that x can be judged against it. A non-finite x leaves every state as it is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float32

from optaxctl._core.counting import increment
from optaxctl._core.types import F32, I32, Flag


class Statistic(NamedTuple):
    """An estimate that is carried along.

    Attributes:
      init: `init() -> state`.
      update: `update(x, state) -> (estimate, state)`.
    """

    init: Callable[[], Any]
    update: Callable[[F32, Any], tuple[Any, Any]]


class MomentsState(NamedTuple):
    """State of `moments`: running mean and variance, and values seen."""

    mean: F32
    var: F32
    seen: I32


class RingState(NamedTuple):
    """State of `ring`: the last values, oldest overwritten first."""

    values: Float32[Array, " size"]
    seen: I32


class QuantileState(NamedTuple):
    """State of `quantile`."""

    level: F32
    seen: Flag


class Moments(NamedTuple):
    """Mean and standard deviation of the values so far."""

    mean: F32
    std: F32
    seen: I32


class Window(NamedTuple):
    """The last values, oldest first, and which of them are there yet."""

    values: Float32[Array, " size"]
    valid: Bool[Array, " size"]


def moments(
    decay: float,
    *,
    prior_var: Callable[[F32], F32],
    floor: Callable[[F32], F32],
    prior_weight: float = 10.0,
    winsor: float = 6.0,
) -> Statistic:
    """Exponential mean and variance that start from a prior instead of silence.

    The first finite value x_0 becomes the mean and `prior_var(x_0)` the variance;
    together they weigh as much as `prior_weight` values. With t values before this one,
    b_t = max(1 - decay, 1/(prior_weight + t)), std = sqrt(var) + floor(mean), and x_t
    cut to mean +- winsor * std, so that one outlier cannot blind the estimate and a
    lasting change is followed even after a constant; without any std it is not cut:

        d = x_t - mean;  mean += b_t * d;  var = (1 - b_t) * (var + b_t * d^2)

    While 1/(prior_weight + t) > 1 - decay these are the plain sample moments of prior
    and data, so no bias correction is needed.
    """

    def init() -> MomentsState:
        return MomentsState(
            mean=jnp.zeros((), jnp.float32),
            var=jnp.zeros((), jnp.float32),
            seen=jnp.zeros((), jnp.int32),
        )

    def update(x: F32, state: MomentsState) -> tuple[Moments, MomentsState]:
        first = state.seen == 0
        mean = jnp.where(first, x, state.mean)
        var = jnp.where(first, prior_var(x), state.var)
        std = jnp.sqrt(var) + floor(mean)
        rate = 1 / (prior_weight + state.seen.astype(jnp.float32))
        b = jnp.maximum(1 - jnp.asarray(decay, jnp.float32), rate)
        bound = jnp.where(std > 0, winsor * std, jnp.inf)
        d = jnp.clip(x - mean, -bound, bound)
        new = MomentsState(
            mean=mean + b * d,
            var=(1 - b) * (var + b * d * d),
            seen=increment(state.seen),
        )
        return Moments(mean, std, state.seen), _admit(x, new, state)

    return Statistic(init, update)


def ring(size: int) -> Statistic:
    """The last `size` finite values; the estimate is a `Window`, oldest first."""

    def init() -> RingState:
        return RingState(jnp.zeros((size,), jnp.float32), jnp.zeros((), jnp.int32))

    def update(x: F32, state: RingState) -> tuple[Window, RingState]:
        window = held(state)
        # The count wraps at a multiple of `size`, which keeps the position exact.
        count = jnp.where(state.seen == 2 * size - 1, size, state.seen + 1)
        new = RingState(state.values.at[state.seen % size].set(x), count)
        return window, _admit(x, new, state)

    return Statistic(init, update)


def held(state: RingState) -> Window:
    """Returns what a ring holds, oldest first."""
    size = state.values.size
    order = (jnp.arange(size) + state.seen) % size
    filled = jnp.minimum(state.seen, size)
    return Window(state.values[order], jnp.arange(size) >= size - filled)


def spread(window: Window, *, ddof: int = 0) -> Moments:
    """Returns the mean and the standard deviation of what a ring holds.

    Taken as distances from the newest value, which round less than the values do, and
    divided before they are summed or squared, so that large ones do not overflow. Of
    fewer than ddof + 1 values the deviation is 0.
    """
    seen = jnp.sum(window.valid)
    n = jnp.maximum(seen, 1).astype(jnp.float32)
    newest = window.values[-1]
    away = jnp.where(window.valid, window.values - newest, 0)
    center = jnp.sum(away / n)
    away = jnp.where(window.valid, away - center, 0)
    largest = jnp.maximum(jnp.max(jnp.abs(away)), jnp.finfo(jnp.float32).tiny)
    squares = jnp.sum((away / largest) ** 2)
    std = largest * jnp.sqrt(squares / jnp.maximum(n - ddof, 1))
    return Moments(newest + center, std, seen)


def quantile(q: float, *, step: float = 0.05) -> Statistic:
    """Tracks the q-quantile by stochastic gradient descent on the pinball loss.

    The level moves up by step * q when x is above it and down by step * (1 - q) when
    x is not, so it rests where a share q of the values lies below. It starts at the
    first finite value. `step` is in units of x: feed logarithms for scale freedom.
    """

    def init() -> QuantileState:
        return QuantileState(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.bool_))

    def update(x: F32, state: QuantileState) -> tuple[F32, QuantileState]:
        level = jnp.where(state.seen, state.level, x)
        up, down = jnp.float32(step * q), jnp.float32(-step * (1 - q))
        moved = level + jnp.where(x > level, up, down)
        new = QuantileState(
            level=jnp.where(state.seen, moved, x), seen=jnp.ones((), jnp.bool_)
        )
        return level, _admit(x, new, state)

    return Statistic(init, update)


def slope(size: int) -> Statistic:
    """Least-squares slope per update of the last `size` finite values; 0 below two."""
    window = ring(size)

    def update(x: F32, state: RingState) -> tuple[F32, RingState]:
        (values, valid), new = window.update(x, state)
        n = jnp.sum(valid, dtype=jnp.float32)
        t = jnp.arange(size, dtype=jnp.float32)
        mean_t = jnp.sum(jnp.where(valid, t, 0)) / jnp.maximum(n, 1)
        mean_x = jnp.sum(jnp.where(valid, values, 0)) / jnp.maximum(n, 1)
        dt = jnp.where(valid, t - mean_t, 0)
        dx = jnp.where(valid, values - mean_x, 0)
        return jnp.sum(dt * dx) / jnp.maximum(jnp.sum(dt * dt), 0.5), new

    return Statistic(window.init, update)


def _admit(x: F32, new: Any, old: Any) -> Any:
    """Returns the new state if x and it are finite, bit for bit the old one if not."""
    ok = jnp.isfinite(x)
    for leaf in new:  # The square of a finite value may overflow.
        ok &= jnp.all(jnp.isfinite(leaf))
    return type(old)(*(jnp.where(ok, n, o) for n, o in zip(new, old, strict=True)))
