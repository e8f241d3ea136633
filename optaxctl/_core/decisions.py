"""What a controller asks for, and how the wishes of several are merged.

Every field has a neutral value and an associative, commutative merge, so controllers
combine in any order. Neutral values are NumPy scalars: they cost no operation in a
compiled step, and whether a controller can move a field is visible at trace time.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from optaxctl._core.types import F32, I32, Flag


class Decision(NamedTuple):
    """What one step should do. Decisions are levels: the whole truth of this step.

    Attributes:
      lr_scale: Multiplies the learning rate; merged by product.
      clip_norm: Largest allowed global gradient norm; merged by minimum.
      skip: Refuse this step. An event of this step only; merged by "or".
      rewind: Go back to the last healthy state. An event; merged by "or".
      stop: Bits of `StopReason`; merged by "or".
      alarm: Bits of `Alarm`; merged by "or".
      knobs: Factors for hyper-parameters by name; merged by product, name by name.
    """

    lr_scale: F32
    clip_norm: F32
    skip: Flag
    rewind: Flag
    stop: I32
    alarm: I32
    knobs: dict[str, F32]


_NEUTRAL = {
    "lr_scale": np.float32(1),
    "clip_norm": np.float32(np.inf),
    "skip": np.bool_(False),
    "rewind": np.bool_(False),
    "stop": np.int32(0),
    "alarm": np.int32(0),
}


def decide(*, knobs: dict[str, Any] | None = None, **fields: Any) -> Decision:
    """Builds a decision that is neutral except for the given fields.

    Args:
      knobs: Factors by name of a hyper-parameter.
      **fields: Values of `Decision` fields; cast to the type of the field.

    Returns:
      The decision. Neutral fields are NumPy scalars, given fields are arrays.

    Raises:
      TypeError: If a field is not one of `Decision`.

    Example:
      >>> import optaxctl as octl
      >>> decision = octl.decide(lr_scale=0.5)
      >>> float(decision.lr_scale), bool(decision.skip)
      (0.5, False)
    """
    unknown = sorted(fields.keys() - _NEUTRAL.keys())
    if unknown:
        known = ", ".join(Decision._fields)
        raise TypeError(f"A decision has no field {unknown[0]!r}; it has {known}.")
    cast = {name: jnp.asarray(v, _NEUTRAL[name].dtype) for name, v in fields.items()}
    factors = {k: jnp.asarray(v, jnp.float32) for k, v in (knobs or {}).items()}
    return Decision(**(_NEUTRAL | cast), knobs=factors)


def merge(a: Decision, b: Decision) -> Decision:
    """Combines two decisions; neutral fields are the identity, the order is free.

    Args:
      a: A decision.
      b: Another decision.

    Returns:
      The decision that grants both: product of factors, the smaller norm, "or" of
      flags. Products of floats commute exactly; they associate exactly where the
      factors are powers of two and to an ulp otherwise.

    Example:
      >>> import optaxctl as octl
      >>> both = octl.merge(octl.decide(lr_scale=0.5), octl.decide(lr_scale=0.5))
      >>> float(both.lr_scale)
      0.25
    """
    knobs = a.knobs | b.knobs
    # Sorted, so that every process of a pod traces the same program.
    shared = sorted(a.knobs.keys() & b.knobs.keys())
    knobs |= {name: a.knobs[name] * b.knobs[name] for name in shared}
    return Decision(
        lr_scale=_join(jnp.multiply, "lr_scale", a, b),
        clip_norm=_join(jnp.minimum, "clip_norm", a, b),
        skip=_join(jnp.logical_or, "skip", a, b),
        rewind=_join(jnp.logical_or, "rewind", a, b),
        stop=_join(jnp.bitwise_or, "stop", a, b),
        alarm=_join(jnp.bitwise_or, "alarm", a, b),
        knobs=knobs,
    )


def moved(decision: Decision) -> frozenset[str]:
    """Returns the fields that a decision sets, whatever their value at run time."""
    fields = {f for f in _NEUTRAL if getattr(decision, f) is not _NEUTRAL[f]}
    return frozenset(fields | ({"knobs"} if decision.knobs else set()))


def without_events(decision: Decision) -> Decision:
    """Returns the levels of `decision`: what may be held while nothing is measured."""
    return decision._replace(skip=_NEUTRAL["skip"], rewind=_NEUTRAL["rewind"])


def _join(op: Any, field: str, a: Decision, b: Decision) -> Any:
    x, y, neutral = getattr(a, field), getattr(b, field), _NEUTRAL[field]
    if x is neutral:
        return y
    return x if y is neutral else op(x, y)
