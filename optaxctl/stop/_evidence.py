"""Stop when the gradient says no more than the noise of the examples."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, Signals, read
from optaxctl._core.counting import increment
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory
from optaxctl._core.flags import StopReason
from optaxctl._core.types import F32, I32

_LEAST = 1e-6  # of the signal: parts that all agree have no noise


class EvidenceState(NamedTuple):
    """State of `stop.evidence`."""

    whole: F32  # running mean of the squared norm of the mean gradient
    parts: F32  # running mean of the mean squared norm of the parts
    weight: F32  # what both weigh, 1 in the long run
    consecutive: I32  # updates in a row without evidence; saturates


@factory
def evidence(
    parts: int,
    *,
    updates: int = 20,
    monitor: str = "grad_norm",
    spread: str = "part_norm",
    decay: float = 0.99,
) -> Controller:
    """Stops when the training gradient is no more than noise, without validation data.

    A step that has the gradient in m parts g_1 .. g_m, of examples, micro-batches or
    devices, has two norms for nothing: that of their mean g, and the root mean square
    of theirs. If the parts share no direction, |g|^2 is 1/m of the mean |g_i|^2. With
    W and P the running means of |g|^2 and of the mean of |g_i|^2, the noise of g and
    what is left of it are

        S = (P - W) / (m - 1)
        evidence = 1 - W / S

    which is 0 for mere noise in the mean, and negative while there is a signal, down to
    -10^6. `stop` is up from the `updates`-th update in a row with evidence > 0 until
    one without. A pair with a NaN or infinite value, or whose squares overflow or
    vanish, is passed over.

    Args:
      parts: The parts m of one gradient, >= 2: examples of a batch whose gradients are
        taken one by one, or micro-batches, or devices.
      updates: Updates in a row without a signal that it takes, >= 1.
      monitor: The norm of the mean gradient.
      spread: The root mean square of the norms of the parts.
      decay: Weight of the past in the running means, > 0 and < 1.

    Returns:
      A controller that moves only `stop` (`NO_EVIDENCE`). Gauges: `evidence`, 0
      before the first pair; `consecutive`, in updates.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import jax, jax.numpy as jnp, optaxctl as octl
      >>> stopper = octl.stop.evidence(8, updates=1, decay=0.5)
      >>> parts = jax.random.normal(jax.random.key(0), (30, 8, 50))
      >>> parts = parts.at[:15].add(1.0)  # a signal that all parts share, then none
      >>> norms = jnp.sqrt(jnp.mean(jnp.sum(parts**2, -1), -1))
      >>> whole = jnp.linalg.norm(parts.mean(1), axis=-1)
      >>> seen = octl.replay(stopper, {"grad_norm": whole, "part_norm": norms})
      >>> bool(seen.decisions.stop[:15].any()), bool(seen.decisions.stop[15:].any())
      (False, True)

    References:
      Mahsereci, Balles, Lassner and Hennig, `Early stopping without a validation set
      <https://arxiv.org/abs/1703.09580>`_, 2017, weigh every coordinate by its own
      variance and judge a single batch; here the coordinates are pooled, so that two
      norms are enough, and the past is averaged. The same two norms are the gradient
      disparity of Forouzesh and Thiran, 2021, and the noise scale of McCandlish et al.,
      2018.
    """
    who = "stop.evidence"
    checks.count(who, low=2, parts=parts)
    checks.count(who, updates=updates)
    checks.between(0, 1, who, decay=decay)
    keep = jnp.asarray(decay, jnp.float32)
    others = jnp.asarray(parts, jnp.float32) - 1
    enough = jnp.asarray(updates, jnp.int32)

    def init() -> EvidenceState:
        zero = lambda: jnp.zeros((), jnp.float32)
        return EvidenceState(zero(), zero(), zero(), jnp.zeros((), jnp.int32))

    def measured(state: EvidenceState) -> F32:
        noise = (state.parts - state.whole) / others
        least = jnp.maximum(_LEAST * state.whole, jnp.finfo(jnp.float32).tiny)
        value = 1 - state.whole / jnp.maximum(noise, least)
        return jnp.where(state.weight > 0, value, 0)

    def update(signals: Signals, state: EvidenceState) -> tuple[Decision, Any]:
        whole = read(signals, monitor, who) ** 2
        each = read(signals, spread, who) ** 2
        ok = jnp.isfinite(whole) & jnp.isfinite(each)
        ok &= each >= jnp.finfo(jnp.float32).tiny
        mix = lambda old, x: jnp.where(ok, keep * old + (1 - keep) * x, old)
        means = mix(state.whole, whole), mix(state.parts, each), mix(state.weight, 1.0)
        new = EvidenceState(*means, state.consecutive)
        none = measured(new) > 0
        counted = jnp.where(none, increment(state.consecutive), 0)
        new = new._replace(consecutive=jnp.where(ok, counted, state.consecutive))
        stop = jnp.where(new.consecutive >= enough, int(StopReason.NO_EVIDENCE), 0)
        return decide(stop=stop), new

    def gauges(state: EvidenceState) -> dict[str, Any]:
        return {"evidence": measured(state), "consecutive": state.consecutive}

    return Controller(init, update, frozenset({monitor, spread}), gauges)
