"""What a step leaves for the history: one small array."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl._core.packing import Layout
from optaxctl.views._state import ControlState, states


@jax.tree_util.register_static
class Columns:
    """Names and kinds ("f" or "i") of the words in a row; compared by these.

    `calls` says how the controllers were made, by name, with the prefix of columns.
    """

    __slots__ = ("calls", "kinds", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        kinds: str,
        calls: Mapping[str, str],
    ):
        self.names, self.kinds, self.calls = names, kinds, calls

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Columns):
            return NotImplemented
        return (self.names, self.kinds) == (other.names, other.kinds)

    def __hash__(self) -> int:
        return hash((self.names, self.kinds))


class Row(NamedTuple):
    """A step in words of 32 bits, floats by their bits, and what each of them means.

    A single array, as every leaf costs a jitted call microseconds. `columns` is static.

    Attributes:
      columns: Names and kinds of the words.
      words: int32, shape (..., columns); leading axes, as of a scan, are in front.
    """

    columns: Columns
    words: jax.Array

    def named(self) -> dict[str, Any]:
        """Returns the values by name, with the leading axes."""
        return {
            name: _floats(self.words[..., i]) if kind == "f" else self.words[..., i]
            for i, (name, kind) in enumerate(
                zip(self.columns.names, self.columns.kinds, strict=True)
            )
        }


def row(opt_state: Any) -> Row:
    """Returns what the last step did, for `History.write`.

    Call it in the jitted step and return it: it reads scalars that are there already,
    and adds one small array to what the step returns. In a `lax.scan` it is stacked.
    Outside, it works on any state.

    It has, of every step: `step` and `accepted`, counted so far; `refused`, `rewind`
    and `clipped`, 0 or 1; `alarms`, the bits of this step; `stop`, the bits so far;
    `loss`, `grad_norm`, `learning_rate` (in force, all factors included), `lr_scale`,
    `clip_norm`; `knob/NAME`; every other signal that a controller reads or `record`
    names, by its name; and every scalar that the controllers show, as `gauge/NAME`. An
    observed signal keeps its last value. What was not measured is NaN. Of several
    control states the n-th, counted from 0, has the prefix `group/n/`; the first none.

    Args:
      opt_state: Any tree that contains control states, as in `observe`.

    Returns:
      A `Row`, a pytree with one leaf.

    Raises:
      TypeError: If there is no control state in the tree.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(octl.inject(optax.sgd, learning_rate=0.5), octl.guard())
      >>> params = jnp.ones(2)
      >>> updates, state = tx.update(params, tx.init(params), params, value=0.25)
      >>> values = octl.row(state).named()
      >>> int(values["step"]), float(values["loss"]), float(values["learning_rate"])
      (1, 0.25, 0.5)
    """
    found = states(opt_state)
    if not found:
        raise TypeError(
            "`row` found no control state. Pass the optimizer state of a `control`led "
            "optimizer, or what contains it."
        )
    cells = [
        (f"group/{n}/{name}" if n else name, kind, value)
        for n, state in enumerate(found)
        for name, kind, value in _cells(state)
    ]
    names, kinds, values = zip(*cells, strict=True)
    columns = Columns(names, "".join(kinds), calls(found))
    return Row(columns, _packed(kinds, values))


def calls(found: list[ControlState]) -> dict[str, str]:
    """Returns how the controllers were made, by name, with the prefix of columns.

    What `jit` returns may tell of other controllers of the same names, since these
    words are no part of the key that it caches by.
    """
    return {
        f"group/{n}/{name}" if n else name: call
        for n, state in enumerate(found)
        for name, call in state.layout.calls.items()
    }


def _cells(state: ControlState) -> Iterator[tuple[str, str, Any]]:
    c = state.content()
    done = c.decision
    signals = {**c.signals, **{n: _seen(o) for n, o in c.observed.items()}}
    norm, rate = signals.pop("grad_norm", jnp.nan), _rate(c, signals)
    accepted = ~done.skip
    yield "step", "i", c.step
    yield "accepted", "i", c.accepted
    yield "refused", "i", done.skip
    yield "rewind", "i", done.rewind
    yield "stop", "i", c.stop
    yield "alarms", "i", done.alarm
    yield "loss", "f", signals.pop("loss", jnp.nan)
    yield "grad_norm", "f", norm
    yield "learning_rate", "f", rate
    yield "lr_scale", "f", done.lr_scale
    yield "clip_norm", "f", done.clip_norm
    yield "clipped", "i", accepted & (norm > done.clip_norm)
    for name, factor in done.knobs.items():
        yield f"knob/{name}", "f", factor
    for name, value in signals.items():
        yield name, "f", value
    scalars = _scalar_gauges(state.layout)
    for name, value in c.gauges.items():
        if name in scalars:
            kind = "f" if value.dtype == jnp.float32 else "i"
            yield f"gauge/{name}", kind, value


def _rate(content: Any, signals: dict[str, Any]) -> Any:
    """Returns the rate in force; the signal of that name is the one before scales."""
    scale = content.decision.lr_scale
    known = signals.pop("learning_rate", jnp.nan)
    if content.lr_factor is not None:
        known = content.hyperparams["learning_rate"].value * content.lr_factor
        known = known * content.decision.knobs.get("learning_rate", 1)
    return known * scale


def _seen(observed: Any) -> Any:
    return jnp.where(observed.seen, observed.value, jnp.nan)


def _scalar_gauges(layout: Layout) -> set[str]:
    of = "gauges/"
    return {
        s.name[len(of) :] for s in layout.slots if s.name.startswith(of) and not s.shape
    }


def _packed(kinds: tuple[str, ...], values: tuple[Any, ...]) -> jax.Array:
    """Puts scalars side by side by selects, which XLA fuses into one kernel."""
    bits = [_bits(kind, value) for kind, value in zip(kinds, values, strict=True)]
    shape = jnp.broadcast_shapes(*(b.shape for b in bits))
    words = jnp.zeros((*shape, len(bits)), jnp.int32)
    place = jax.lax.broadcasted_iota(jnp.int32, words.shape, len(shape))
    for i, b in enumerate(bits):
        whole = jnp.broadcast_to(b[..., None], words.shape)
        words = jax.lax.select(place == i, whole, words)
    return words


def _bits(kind: str, value: Any) -> jax.Array:
    if kind == "i":
        return jnp.asarray(value).astype(jnp.int32)
    return jax.lax.bitcast_convert_type(jnp.asarray(value, jnp.float32), jnp.int32)


def _floats(words: Any) -> Any:
    if isinstance(words, np.ndarray):
        return words.view(np.float32)
    return jax.lax.bitcast_convert_type(words, jnp.float32)
