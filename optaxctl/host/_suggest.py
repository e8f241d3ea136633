"""What a range test says: five suggested rates, and whether there is a minimum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float32

from optaxctl._core.types import F32, I32, Flag

Curve = Float32[Array, " steps"]


class Suggestions(NamedTuple):
    """Learning rates that formulas of other libraries suggest; NaN where undefined."""

    valley: F32
    steep: F32
    minimum: F32
    slide: F32
    gradient: F32


def suggest(learning_rates: Curve, smoothed: Curve, recorded: I32) -> Suggestions:
    """Applies fastai's four formulas and Lightning's to the first `recorded` points.

    fastai looks at [steps // 10 : recorded - 5] up to the first non-finite value,
    Lightning at the finite values of [10 : recorded - 1].
    """
    i = jnp.arange(len(smoothed))
    finite = jnp.isfinite(smoothed)
    begin = len(smoothed) // 10
    broken = jnp.min(jnp.where(finite | (i < begin), len(smoothed), i))
    end = jnp.minimum(recorded - 5, broken)
    window = (i >= begin) & (i < end)

    def rate(index: I32, points: int) -> F32:
        return jnp.where(end - begin >= points, learning_rates[index], jnp.nan)

    lowest = jnp.argmin(jnp.where(window, smoothed, jnp.inf))
    # The rates are evenly spaced in log, so the largest fall is the steepest. Its
    # difference is exact where a quotient of rounded logarithms would break ties.
    falls = jnp.where(window[:-1] & window[1:], jnp.diff(smoothed), jnp.inf)
    return Suggestions(
        valley=rate(_valley(smoothed, window), 1),
        steep=rate(jnp.argmin(falls), 2),
        minimum=rate(lowest, 1) / 10,
        slide=rate(_slide(smoothed, begin, end), 16),
        gradient=_gradient(
            learning_rates, smoothed, finite & (i >= 10) & (i < recorded - 1)
        ),
    )


def _valley(smoothed: Curve, window: Bool[Array, " steps"]) -> I32:
    """Returns the middle of the longest decreasing subsequence, as fastai counts it."""

    def lengthen(i: I32, lengths: Array) -> Array:
        above = jnp.max(jnp.where(smoothed > smoothed[i], lengths, 0))
        return lengths.at[i].set(jnp.where(window[i], above + 1, 0))

    zeros = jnp.zeros(len(smoothed), jnp.int32)
    lengths = jax.lax.fori_loop(0, len(smoothed), lengthen, zeros)
    longest, last = jnp.max(lengths), jnp.argmax(lengths)
    middle = last - longest + longest // 3 + longest // 6
    return jnp.maximum(middle, jnp.argmax(window))


def _slide(smoothed: Curve, begin: int, end: I32) -> I32:
    """Walks left from the end while slopes 15 points apart differ by more than 0.005.

    The constant is fastai's: it has the units of the loss.
    """
    i = jnp.arange(len(smoothed))
    after = jnp.where(i + 1 < end, jnp.roll(smoothed, -1), smoothed)
    before = jnp.where(i > begin, jnp.roll(smoothed, 1), smoothed)
    inside = (i > begin) & (i + 1 < end)
    slopes = (after - before) / jnp.where(inside, 2, 1)
    walk = (i >= begin) & (i <= end - 16)
    stays = walk & ~(jnp.abs(jnp.roll(slopes, -15) - slopes) > 0.005)
    return jnp.clip(jnp.max(jnp.where(stays, i + 1, begin)), begin, end - 16)


def _gradient(
    learning_rates: Curve, smoothed: Curve, usable: Bool[Array, " steps"]
) -> F32:
    """Returns the rate where the loss falls fastest per unit of the rate, not its log.

    The derivative is `torch.gradient`'s on uneven points, written as a mean of slopes.
    """
    order = jnp.argsort(~usable, stable=True)  # Lightning leaves gaps out
    rates, count = learning_rates[order], jnp.sum(usable)
    step = jnp.diff(rates)
    slope = jnp.diff(smoothed[order]) / step
    mean = (step[1:] * slope[:-1] + step[:-1] * slope[1:]) / (step[1:] + step[:-1])
    i = jnp.arange(len(rates))
    derivative = jnp.where(
        i == count - 1,
        jnp.pad(slope, (1, 0)),
        jnp.concatenate([slope[:1], mean, slope[-1:]]),
    )
    steepest = jnp.argmin(jnp.where(i < count, derivative, jnp.inf))
    return jnp.where(count >= 2, rates[steepest], jnp.nan)


def judge(
    losses: Curve,
    smoothed: Curve,
    valid: Bool[Array, " steps"],
    stopped: Flag,
    keep: F32,
) -> tuple[Flag, Flag]:
    """Says whether the smoothed losses fell by more than noise, and rose again.

    Noise is 4 standard errors of the smoothed loss where fastai starts to look, from
    the root mean square of the jumps between successive losses before the minimum.
    `keep` is the weight of the past in the smoothing.
    """
    i = jnp.arange(len(losses))
    begin = len(losses) // 10
    usable = valid & (i >= begin)
    low = jnp.argmin(jnp.where(usable, smoothed, jnp.inf))
    jumps = jnp.where(i[1:] <= low, jnp.abs(jnp.diff(losses)), 0)
    # Scaled before it is squared, so that no unit of the loss over- or underflows.
    scale = jnp.maximum(jnp.max(jumps), jnp.finfo(jnp.float32).tiny)
    power = jnp.sum((jumps / scale) ** 2) / jnp.maximum(low, 1)
    deviation = scale * jnp.sqrt(power / 2)  # a jump has twice the variance of a loss
    past = keep ** (begin + 1)
    share = (1 - keep) / (1 + keep) * (1 + past) / (1 - past)
    margin = 4 * deviation * jnp.sqrt(share)
    last = jnp.max(jnp.where(valid, i, 0))
    fell = smoothed[begin] - smoothed[low] > margin
    return fell, stopped | (smoothed[last] - smoothed[low] > margin)
