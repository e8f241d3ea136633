"""Find a learning rate by raising it until training breaks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optaxctl._core import checks
from optaxctl._core.types import F32, Flag
from optaxctl.host._found import RangeTest
from optaxctl.host._suggest import judge, suggest
from optaxctl.views._inject import with_extra_args

Params = Any
Batches = Any
LossFunction = Callable[[Params, Any], Any]
Optimizer = Callable[[Any], optax.GradientTransformation]


def lr_find(
    loss_fn: LossFunction,
    params: Params,
    batches: Batches,
    *,
    optimizer: Optimizer = optax.adamw,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    smoothing: float = 0.98,
    diverge: float = 4.0,
) -> RangeTest:
    """Trains a copy at rising learning rates and says which of them to use.

    Step i of n trains on batch i at the rate

        lr_i = start_lr * (end_lr / start_lr)^(i / n)

    which stops one step short of `end_lr`. The losses enter a bias-corrected running
    mean s_i with the weight `smoothing` of the past. With b_i the lowest s so far the
    test ends after the first step in which the loss is NaN or infinite, or

        s_i > b_i + (diverge - 1) * max(|b_i|, (s_0 - b_i) / 20)

    which for a positive loss is s_i > diverge * b_i, unless the loss has all but
    vanished. Nothing is touched: all of it is one `lax.scan` over copies, which traces,
    so it runs under `jit`, and under `vmap` over seeds or over the range.

    `found.clear` demands a minimum that is there. The smoothed loss must fall from its
    value at step n // 10 by more than 4 standard errors of that value, and rise again
    as much or end the test. The standard error comes from the jumps between successive
    losses before the minimum, so scale, offset and sign of the loss do not matter. On
    pure noise less than 1 % of tests of 100 steps pass.

    Args:
      loss_fn: `loss_fn(params, batch)`, a scalar; pure and traceable.
      params: Where training would start; a pytree of float arrays.
      batches: A pytree of arrays whose first axis has an entry for each step, of length
        n >= 20. A hundred are customary.
      optimizer: From a learning rate, which is traced, to an Optax optimizer. The loss
        goes along as `value=`. An optimizer that keeps the rate in its state, such as
        one of `optax.inject_hyperparams`, is refused.
      start_lr: First rate, > 0: so low that nothing is learnt.
      end_lr: Upper end of the rates, > `start_lr`: so high that training breaks.
      smoothing: Weight of the past in the running mean, >= 0 and < 1.
      diverge: Multiple of the lowest loss that ends the test, > 1.

    Returns:
      The curve, five suggested rates and a verdict. `found.suggestion` is the rate to
      start with, NaN without a clear minimum, and `found.summary()` says it in words.
      `found.floor` and `found.ceil` are the range of rates in which the loss falls, to
      bound what a controller may do.

    Raises:
      ValueError: If an argument is out of range, if the leaves of `batches` differ in
        length or are too short, or if the optimizer keeps the rate in its state.
      TypeError: If `loss_fn` returns no scalar or `optimizer` is no function.

    Example:
      >>> import jax, jax.numpy as jnp, optax, optaxctl as octl
      >>> x = jax.random.normal(jax.random.key(0), (100, 32, 4))
      >>> loss = lambda w, x: jnp.mean((x @ (w - 1)) ** 2)
      >>> found = octl.lr_find(loss, jnp.zeros(4), x, optimizer=optax.sgd)
      >>> bool(found.clear), 0.1 < found.suggestion < 0.5
      (True, True)
      >>> rate = found.suggestion
      >>> plateau = octl.lr.plateau(5, floor=found.floor / rate)
      >>> tx = octl.control(octl.inject(optax.sgd, learning_rate=rate), plateau)

    References:
      Smith, `Cyclical Learning Rates <https://arxiv.org/abs/1506.01186>`_, 2015. The
      rates, the mean, the stop and four suggestions are fastai's `lr_find`, the fifth
      is Lightning's. Unlike both, the stop is right for losses at or below zero, a
      NaN ends the test, a curve without a minimum gets no suggestion, and the one to
      start with is fastai's `minimum`: on digits it was the safest of the four. Where
      only the first two points fall, fastai's valley is the last rate, here the first.
    """
    _check(start_lr, end_lr, smoothing, diverge)
    if not callable(optimizer):
        raise TypeError(
            "`lr_find(optimizer=...)` must be a function of the learning rate, such as "
            f"`optax.adamw`, got {optimizer!r}."
        )
    steps = _steps(batches)
    # In float64 where the range is not traced: float32 powers are off by 1e-6.
    rates = start_lr * (end_lr / start_lr) ** (np.arange(steps) / steps)

    def run(
        params: Params, batches: Batches, rates: F32, keep: F32, diverge: F32
    ) -> RangeTest:
        train = _trainer(loss_fn, optimizer, keep, diverge)
        begin = _begin(params, optimizer(rates[0]))
        last, rows = jax.lax.scan(train, begin, (rates, batches))
        # fastai goes on after a NaN, which it does not take for divergence.
        recorded = jnp.where(jnp.any(rows.diverged), jnp.sum(rows.live), steps)
        valid = jnp.isfinite(rows.smoothed)
        return RangeTest(
            rates,
            rows.loss,
            rows.smoothed,
            valid,
            *suggest(rates, rows.smoothed, recorded),
            *judge(rows.loss, rows.smoothed, valid, last.stopped, keep),
        )

    numbers = (jnp.asarray(x, jnp.float32) for x in (rates, smoothing, diverge))
    return jax.jit(run)(params, batches, *numbers)


class _Training(NamedTuple):
    params: Params
    opt_state: Any
    mean: F32  # of the losses so far, exponential and bias-corrected
    weight: F32  # of all losses in the mean before its correction
    first: F32
    best: F32
    stopped: Flag


class _Row(NamedTuple):
    loss: F32
    smoothed: F32
    live: Flag  # whether the test was still going on
    diverged: Flag


def _begin(params: Params, tx: optax.GradientTransformation) -> _Training:
    params = jax.tree.map(jnp.asarray, params)
    state = jax.tree.map(jnp.asarray, tx.init(params))
    if optax.tree_utils.tree_get_all_with_path(state, "learning_rate"):
        raise ValueError(
            "`lr_find(optimizer=...)` must use the rate it is given, but this one "
            "keeps the first in its state. Pass the factory without "
            "`inject_hyperparams`, such as `optax.adamw`."
        )
    zero = jnp.zeros((), jnp.float32)
    best = jnp.full((), jnp.inf, jnp.float32)
    return _Training(params, state, zero, zero, zero, best, jnp.zeros((), jnp.bool_))


def _trainer(
    loss_fn: LossFunction, optimizer: Optimizer, keep: F32, diverge: F32
) -> Callable[[_Training, Any], tuple[_Training, _Row]]:
    def scalar_loss(params: Params, batch: Any) -> Any:
        loss = loss_fn(params, batch)
        if (shapes := jax.tree.map(jnp.shape, loss)) != ():
            raise TypeError(
                f"`lr_find(loss_fn=...)` must return a scalar, got shape {shapes}."
            )
        return loss

    def train(old: _Training, row: Any) -> tuple[_Training, _Row]:
        rate, batch = row
        loss, grads = jax.value_and_grad(scalar_loss)(old.params, batch)
        tx = with_extra_args(optimizer(rate))
        updates, state = tx.update(grads, old.opt_state, old.params, value=loss)

        loss = loss.astype(jnp.float32)
        weight = keep * old.weight + (1 - keep)
        # As a step towards the loss, so that the mean of a constant is that constant.
        mean = old.mean + (loss - old.mean) * ((1 - keep) / weight)
        first = jnp.where(old.weight == 0, mean, old.first)
        best = jnp.minimum(old.best, mean)
        size = jnp.maximum(jnp.abs(best), (first - best) / 20)
        diverged = mean > best + (diverge - 1) * size
        finite = jnp.isfinite(mean)

        params = optax.apply_updates(old.params, updates)
        stopped = diverged | ~finite
        new = _Training(params, state, mean, weight, first, best, stopped)
        smoothed = jnp.where(finite, mean, jnp.nan)
        return new, _Row(loss, smoothed, jnp.ones((), jnp.bool_), diverged)

    def rest(old: _Training, row: Any) -> tuple[_Training, _Row]:
        nan, no = jnp.full((), jnp.nan, jnp.float32), jnp.zeros((), jnp.bool_)
        return old, _Row(nan, nan, no, no)

    # A select where it is vmapped; elsewhere nothing is computed after the end.
    return lambda old, row: jax.lax.cond(old.stopped, rest, train, old, row)


def _check(start_lr: Any, end_lr: Any, smoothing: Any, diverge: Any) -> None:
    who = "lr_find"
    checks.above(0, who, start_lr=start_lr, end_lr=end_lr)
    checks.require(end_lr > start_lr, who, "end_lr", end_lr, f"> start_lr={start_lr}")
    checks.at_least(0, who, smoothing=smoothing)
    checks.require(smoothing < 1, who, "smoothing", smoothing, "< 1")
    checks.above(1, who, diverge=diverge)


def _steps(batches: Batches) -> int:
    """Returns the length that the first axes of all leaves share."""
    leaves = jax.tree_util.tree_leaves_with_path(batches)
    axes = {jax.tree_util.keystr(path): jnp.shape(leaf)[:1] for path, leaf in leaves}
    found = set(axes.values())
    steps = next(iter(found))[0] if len(found) == 1 and () not in found else 0
    if steps < 20:
        words = ", ".join(f"`batches{path}` {axis}" for path, axis in axes.items())
        raise ValueError(
            "`lr_find(batches=...)` must have a first axis of steps, >= 20 and of one "
            f"length in every leaf, got {words or 'no leaf'}."
        )
    return steps
