"""Any of several rules of stopping, or all of them at once."""

from typing import Any

import jax.numpy as jnp

from optaxctl._core.controllers import (
    Controller,
    Signals,
    require_controller,
    restricted,
    together,
)
from optaxctl._core.decisions import Decision, decide
from optaxctl._core.factory import factory


@factory
def any_of(**rules: Controller) -> Controller:
    """Stops while any of the rules does, for the reasons of all that do.

    Args:
      **rules: Controllers that move only `stop`, by name. As in `together`, names
        become paths in checkpoints and prefixes of gauges.

    Returns:
      A controller that moves only `stop`. Gauges: those of the rules, `name/gauge`.

    Raises:
      ValueError: If no rule is given.
      TypeError: If a rule is no controller, or moves another field.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.any_of(
      ...     loss=octl.stop.patience(10),
      ...     accuracy=octl.stop.target(0.99, monitor="accuracy", mode="max"),
      ... )
      >>> sorted(stopper.signals)
      ['accuracy', 'val_loss']

    References:
      `together`, which this is for rules of stopping. Several callbacks in a row are
      "any" in Keras and Lightning; LightGBM stops at the first of several metrics.
    """
    return _side_by_side("stop.any_of", rules)


@factory
def all_of(**rules: Controller) -> Controller:
    """Stops while all of the rules do, for the reasons of all.

    Rules are not latched, so they must agree in the same update. A rule of an observed
    signal keeps its verdict until that is measured again, so in `control` they need not
    be measured together. `stop.budget` stays met once it is.

    Args:
      **rules: As in `stop.any_of`.

    Returns:
      A controller that moves only `stop`. Gauges: those of the rules, `name/gauge`.

    Raises:
      ValueError: If no rule is given.
      TypeError: If a rule is no controller, or moves another field.

    Example:
      >>> import optaxctl as octl
      >>> stopper = octl.stop.all_of(
      ...     loss=octl.stop.patience(10), accuracy=octl.stop.patience(
      ...         10, monitor="accuracy", mode="max"
      ...     )
      ... )
      >>> sorted(stopper.signals)
      ['accuracy', 'val_loss']
    """
    each = _side_by_side("stop.all_of", rules)

    def update(signals: Signals, state: dict[str, Any]) -> tuple[Decision, Any]:
        bits, states, agreed = jnp.zeros((), jnp.int32), {}, jnp.ones((), jnp.bool_)
        for name, rule in rules.items():
            decision, states[name] = rule.update(signals, state[name])
            bits |= decision.stop
            agreed &= decision.stop != 0
        return decide(stop=jnp.where(agreed, bits, 0)), states

    return each._replace(update=update, combine=all_of)


def _side_by_side(who: str, rules: dict[str, Controller]) -> Controller:
    if not rules:
        raise ValueError(f"`{who}()` needs at least one rule, by name.")
    for name, rule in rules.items():
        require_controller(who, name, rule)
    return restricted(together(**rules), who, "stop")
