"""What a range test found, for programs and for people."""

import math
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Bool, Float32

Curve = Float32[Array, "*runs steps"]
Rate = Float32[Array, "*runs"]
Flags = Bool[Array, "*runs"]


class RangeTest(NamedTuple):
    """What `lr_find` found: the curve, suggested rates, and how far to trust them.

    A pytree of arrays, so it comes out of `jit` and `vmap`. The properties wait for the
    device, and where runs were vmapped they are medians over the clear runs (the lower
    of two middle ones); without any they are NaN, and `summary` says why.

    Attributes:
      learning_rates: The rates tried, of shape (steps,).
      losses: The losses as they came; NaN after the end.
      smoothed: Their running mean; NaN from a non-finite loss on and after the end.
      valid: Whether a step was made and its loss was finite.
      valley: fastai's default, the middle of the longest decreasing subsequence.
      steep: fastai's rate of the largest fall in one step.
      minimum: fastai's tenth of the rate where the smoothed loss is lowest.
      slide: fastai's interval slide rule, whose threshold has the loss's units.
      gradient: Lightning's rate of the steepest fall per unit of the rate, not of its
        logarithm, which favours small rates.
      fell: Whether the smoothed loss fell by more than noise.
      turned: Whether it rose again by more than noise, or the test ended early.
    """

    learning_rates: Curve
    losses: Curve
    smoothed: Curve
    valid: Bool[Array, "*runs steps"]
    valley: Rate
    steep: Rate
    minimum: Rate
    slide: Rate
    gradient: Rate
    fell: Flags
    turned: Flags

    @property
    def clear(self) -> Flags:
        """Whether there is a clear minimum inside the range; for each run."""
        return self.fell & self.turned

    @property
    def suggestion(self) -> float:
        """The rate to start with: `minimum`, a tenth of the rate of the lowest loss.

        On digits it trained well wherever there was a clear minimum; fastai's default,
        the valley, was often too low, and the others were now and then far off.
        """
        return self._median(self.minimum)

    @property
    def floor(self) -> float:
        """The rate from which a tenth of the fall is done, at most `minimum`."""
        smoothed, start, fall, early = self._fall()
        above = early & (smoothed > start - fall / 10)
        last = above.shape[-1] - 1 - np.argmax(above[..., ::-1], -1, keepdims=True)
        after = np.minimum(last + 1, above.shape[-1] - 1)
        return self._median(np.minimum(self._rate(after), self.minimum))

    @property
    def ceil(self) -> float:
        """The rate at which four fifths of the fall are done, at least `minimum`.

        It is not the rate of the lowest smoothed loss: a running mean lags, so there
        the losses themselves are rising already.
        """
        smoothed, start, fall, early = self._fall()
        done = early & (smoothed <= start - 0.8 * fall)
        first = np.argmax(done, -1, keepdims=True)
        return self._median(np.maximum(self._rate(first), self.minimum))

    def summary(self) -> str:
        """Returns one or two sentences for people."""
        clear = np.asarray(self.clear)
        valid = np.asarray(self.valid)
        if not valid.any():
            return "No clear minimum: the first loss was not finite."
        if clear.any():
            runs = f"{clear.sum()} of {clear.size} runs are clear. "
            last = valid.shape[-1] - 1 - np.argmax(valid[..., ::-1], -1, keepdims=True)
            end = f"diverges above {self._median(self._rate(last)):.1e}"
            return (
                f"{runs if clear.size > 1 else ''}The loss falls between "
                f"{self.floor:.1e} and {self.ceil:.1e} and "
                f"{'rises after that' if valid[clear].all() else end}; "
                f"start with {self.suggestion:.1e}."
            )
        tried = np.asarray(self.learning_rates)[valid]
        if np.any(self.fell):
            return (
                f"No minimum inside the range: the loss still falls at "
                f"{tried.max():.1e}. Raise `end_lr`."
            )
        return (
            "No clear minimum: the loss never fell by more than its own noise between "
            f"{tried.min():.1e} and {tried.max():.1e}. Use larger batches or more of "
            "them, or a lower `start_lr`."
        )

    def _median(self, rates: Any) -> float:
        clear = np.asarray(self.clear)
        chosen = np.reshape(rates, clear.shape)[clear]
        if not chosen.size:
            return math.nan
        return float(np.quantile(chosen, 0.5, method="lower"))

    def _rate(self, index: Any) -> Any:
        return np.take_along_axis(np.asarray(self.learning_rates), index, -1)[..., 0]

    def _fall(self) -> tuple[Any, Any, Any, Any]:
        """Returns the smoothed curve, its start, its fall, and what precedes its low.

        It starts where fastai starts to look: the mean of fewer losses is still noise.
        """
        smoothed = np.asarray(self.smoothed)
        steps = np.arange(smoothed.shape[-1])
        begin = len(steps) // 10
        usable = np.where(np.asarray(self.valid) & (steps >= begin), smoothed, math.inf)
        low = np.argmin(usable, -1, keepdims=True)
        start = smoothed[..., begin : begin + 1]
        fall = start - np.take_along_axis(smoothed, low, -1)
        return smoothed, start, fall, (steps >= begin) & (steps <= low)
