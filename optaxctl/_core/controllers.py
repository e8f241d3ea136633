"""The one shape: signals in, decision out, state carried by the caller."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core.checks import closest
from optaxctl._core.decisions import Decision, decide, merge, moved
from optaxctl._core.factory import factory
from optaxctl._core.types import F32

State = Any
Signals = Mapping[str, Any]


class Controller(NamedTuple):
    """A pure state machine over a handful of scalars.

    Attributes:
      init: `init() -> state`. Knows nothing of the parameters; the state is a
        NamedTuple of float32, int32 and bool scalars or small fixed rings.
      update: `update(signals, state) -> (decision, state)`, pure and traceable.
      signals: Names of the signals that `update` reads.
      gauges: `gauges(state) -> dict` of the scalars that people want to see.
      parts: The controllers that this one is made of, by name, if it has several.
      combine: Makes it from its parts again: `combine(**parts)`. None where its parts
        cannot be replaced one by one, as where it counts its own updates.
      call: How it was made, such as "stop.patience(5)"; None if no factory of ours
        made it.
    """

    init: Callable[[], State]
    update: Callable[[Signals, State], tuple[Decision, State]]
    signals: frozenset[str]
    gauges: Callable[[State], dict[str, Any]]
    parts: Mapping[str, "Controller"] = {}
    combine: "Callable[..., Controller] | None" = None
    call: str | None = None

    def __repr__(self) -> str:
        return self.call or f"Controller(signals={sorted(self.signals)})"


_PROVIDERS = {
    "loss": "Pass the loss as `update(..., value=loss)`.",
    "grad_norm": "Views that see the gradients measure it, such as `control`.",
    "learning_rate": "`control` knows it with `inject(..., learning_rate=...)`, or for "
    "a ready-made optimizer by `control(..., learning_rate=...)`.",
    "step": "`control` and `replay` count it.",
    "accepted": "`control` and `replay` count it.",
}


def read(signals: Signals, name: str, who: str) -> F32:
    """Returns the signal `name` as a float32 scalar.

    Args:
      signals: What was measured in this step, by name.
      name: The signal to read.
      who: The controller that reads it, for the message.

    Returns:
      The value, cast to float32 whatever the precision it was computed in.

    Raises:
      TypeError: If the signal is missing or not a scalar; raised while tracing.
    """
    if name not in signals:
        given = sorted(n for n in signals if n.isidentifier())
        near = closest(name, given) or (
            closest("value", given) if name == "loss" else None
        )
        hint = _PROVIDERS.get(
            name,
            f"Pass it as `update(..., {name}=...)`, or declare "
            f'`control(..., observed=("{name}",))` and hand it over with `observe`.',
        )
        raise TypeError(
            f"`{who}` reads the signal `{name}`, which is not among those given "
            f"({', '.join(given) or 'none'})."
            + (f" The closest given is `{near}`." if near else "")
            + f" {hint}"
        )
    value = jnp.asarray(signals[name], jnp.float32)
    if value.ndim:
        raise TypeError(
            f"`{who}` reads the signal `{name}`, which must be a scalar, "
            f"got shape {value.shape}. Reduce it first, for example with `jnp.mean`."
        )
    return value


def shape(controller: Controller) -> tuple[frozenset[str], Decision]:
    """Traces one update: the fields a controller can move, and a neutral decision.

    The neutral decision has the knobs of the controller's own, so its structure is the
    one that every update returns.
    """
    integers = {"step", "accepted"}
    flags = {f"fresh/{name}" for name in controller.signals}
    types = dict.fromkeys(controller.signals | integers | flags, jnp.float32)
    types |= dict.fromkeys(integers, jnp.int32) | dict.fromkeys(flags, jnp.bool_)
    fields: frozenset[str] = frozenset()

    def update(signals: Signals) -> Decision:
        nonlocal fields
        decision, _ = controller.update(signals, controller.init())
        fields = moved(decision)
        return decision

    signals = {n: jax.ShapeDtypeStruct((), t) for n, t in types.items()}
    knobs = jax.eval_shape(update, signals).knobs
    return fields, jax.tree.map(jnp.array, decide(knobs=dict.fromkeys(knobs, 1)))


def restricted(controller: Controller, who: str, *fields: str) -> Controller:
    """Returns `controller`, or refuses it if it moves what `who` cannot carry out."""
    if ignored := sorted(shape(controller)[0] - set(fields)):
        raise TypeError(
            f"`{who}` carries out {' and '.join(fields)} only, and this controller "
            f"also moves {', '.join(ignored)}. Use `control`."
        )
    return controller


def calls(controller: Controller) -> dict[str, str]:
    """Returns how the parts of a controller were made, by name; "" if it has none."""
    parts = controller.parts or {"": controller}
    return {name: part.call for name, part in parts.items() if part.call}


def require_controller(who: str, argument: str, value: Any) -> None:
    """Refuses what is no controller, such as a factory that was not called."""
    if not isinstance(value, Controller):
        why = ". Did you forget to call it?" if callable(value) else f", got {value!r}."
        raise TypeError(f"`{who}({argument}=...)` must be a controller{why}")


@factory
def together(**controllers: Controller) -> Controller:
    """Runs controllers side by side and merges what they decide.

    Args:
      **controllers: The controllers by name. Names become paths in checkpoints,
        prefixes of gauges (`name/gauge`) and columns of records: choose them to last.

    Returns:
      A controller whose decision is the `merge` of all decisions.

    Raises:
      ValueError: If no controller is given.
      TypeError: If an argument is not a controller.

    Example:
      >>> import optaxctl as octl
      >>> c = octl.together(rate=octl.lr.plateau(5), clip=octl.clip.zscore())
      >>> sorted(c.signals)
      ['grad_norm', 'val_loss']
    """
    if not controllers:
        raise ValueError("`together()` needs at least one controller, by name.")
    for name, c in controllers.items():
        require_controller("together", name, c)

    def init() -> dict[str, State]:
        return {name: c.init() for name, c in controllers.items()}

    def update(signals: Signals, state: dict[str, State]) -> tuple[Decision, Any]:
        decision, states = decide(), {}
        for name, c in controllers.items():
            part, states[name] = c.update(signals, state[name])
            decision = merge(decision, part)
        return decision, states

    def gauges(state: dict[str, State]) -> dict[str, Any]:
        return {
            f"{name}/{gauge}": value
            for name, c in controllers.items()
            for gauge, value in c.gauges(state[name]).items()
        }

    reads = frozenset[str]().union(*(c.signals for c in controllers.values()))
    return Controller(init, update, reads, gauges, dict(controllers), together)
