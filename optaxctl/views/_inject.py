"""Let control own an optimizer's hyper-parameters."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

from optaxctl._core.types import F32, Flag


@dataclass(frozen=True)
class Injected:
    """An optimizer that is built anew, with other numbers, in every traced step.

    Attributes:
      factory: Called with the hyper-parameters by name.
      rules: A number or a schedule for each hyper-parameter.
      static: Arguments of the factory that are no hyper-parameters.
      frozen: Values of coefficients at which a gradient of -0.0 leaves the optimizer's
        state bit for bit as it is; None where none are known to.
    """

    factory: Callable[..., optax.GradientTransformation]
    rules: Mapping[str, Any]
    static: Mapping[str, Any]
    frozen: Mapping[str, float] | None

    def values(self, step: Any) -> dict[str, F32]:
        """Returns what the rules say at `step`."""
        return {
            name: jnp.asarray(rule(step) if callable(rule) else rule, jnp.float32)
            for name, rule in self.rules.items()
        }

    def build(
        self, values: Mapping[str, Any], ok: Flag | None = None
    ) -> optax.GradientTransformationExtraArgs:
        """Builds the optimizer, with the coefficients frozen where `ok` is false."""
        arguments = {**self.static, **values}
        if ok is not None:
            defaults = inspect.signature(self.factory).parameters
            for name, still in (self.frozen or {}).items():
                now = arguments.get(name, defaults[name].default)
                if now is not None:
                    # Of Python numbers, so that a default keeps its weak type and the
                    # moments are computed in the precision that they always were.
                    arguments[name] = jnp.where(ok, now, float(still))
        return with_extra_args(self.factory(**arguments))


def with_extra_args(
    tx: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Lets a transformation be handed extra arguments, used or not.

    `optax.with_extra_args_support` goes by the type, and so takes the arguments away
    from `MultiSteps(...).gradient_transformation()`, whose update passes them on.
    """
    parameters = inspect.signature(tx.update).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return optax.GradientTransformationExtraArgs(tx.init, tx.update)
    return optax.with_extra_args_support(tx)


def inject(
    factory: Callable[..., optax.GradientTransformation], /, **arguments: Any
) -> Injected:
    """Makes an optimizer whose hyper-parameters `control` owns.

    Every number among the arguments, and every schedule `step -> number`, becomes a
    hyper-parameter: kept in the state, seen by `read`, set by `set_lr`, moved by
    `lr_scale` (the one named `learning_rate`) and by `knobs`. Schedules count accepted
    steps. A refused step then freezes the optimizer through its own coefficients where
    that is known to be exact (adam, adamw, nadam, nadamw, adabelief, adadelta, adagrad,
    adamax, adamaxw, ademamix, lamb, lion, muon, rmsprop, sgd, yogi, each proven by a
    test), at no cost in memory and under `vmap`; others are gated by `lax.cond`.

    A number is an argument given as a float or an array, or as an int where the
    factory's own default is a float or missing. A callable is a schedule where the
    default is a number or missing, so `mask=` and the like stay what they are. What
    else is to stay, such as a number of layers, goes into a `functools.partial`.

    Args:
      factory: A function that returns an Optax transformation, such as `optax.adamw`.
      **arguments: Its arguments, by name.

    Returns:
      The `inner` of `control`; it is not a transformation by itself.

    Raises:
      TypeError: If `factory` is no function, or does not take an argument.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> inner = octl.inject(optax.adamw, learning_rate=3e-4, weight_decay=0.1)
      >>> tx = octl.control(inner, octl.guard())
      >>> state = tx.init({"w": jnp.ones(3)})
      >>> round(octl.read(state).learning_rate, 6)
      0.0003

    References:
      `optax.inject_hyperparams`, which casts the numbers to the dtype of the
      parameters, where here they stay float32. As there, coefficients such as 1 - b2
      are computed in float32, so a step differs from the plain optimizer's, whose are
      Python floats, by up to 3e-5 of itself.
    """
    if isinstance(factory, optax.GradientTransformation) or not callable(factory):
        raise TypeError(
            "`inject` takes the function that makes an optimizer, such as `optax.sgd`, "
            "and its arguments by name, not what the function returns."
        )
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in arguments:
        if name not in parameters and not takes_any:
            raise TypeError(
                f"`inject({_name(factory)}, {name}=...)`: the factory takes no such "
                f"argument; it has {', '.join(parameters)}."
            )
    rules = {n: v for n, v in arguments.items() if _is_rule(v, parameters.get(n))}
    static = {name: v for name, v in arguments.items() if name not in rules}
    return Injected(factory, rules, static, _frozen(factory, arguments))


def _is_rule(value: Any, parameter: inspect.Parameter | None) -> bool:
    default = parameter.default if parameter else inspect.Parameter.empty
    is_float = isinstance(default, float)
    open_ended = is_float or default is inspect.Parameter.empty
    if isinstance(value, (bool, np.bool_)):
        return False
    if callable(value):
        return open_ended
    if isinstance(value, int):
        return open_ended
    return isinstance(value, (float, np.generic, np.ndarray, jax.Array))


def _frozen(
    factory: Callable[..., Any], arguments: Mapping[str, Any]
) -> Mapping[str, float] | None:
    known = arguments
    while isinstance(factory, functools.partial):
        if factory.args:  # They have left the signature, and with it our sight.
            return None
        known, factory = {**factory.keywords, **known}, factory.func
    entry = _EXACT.get(factory)
    if entry is None or any(known.get(name) is not None for name in entry.spoilers):
        return None
    return entry.still


@dataclass(frozen=True)
class _Exact:
    """Coefficients that freeze the state, and arguments that prevent it."""

    still: Mapping[str, float]
    spoilers: tuple[str, ...] = ()


_ADAM = _Exact({"b1": 1, "b2": 1})
# The infinite norm of Adamax is max(|g| + eps, b2 * nu).
_ADAMAX = _Exact({"b1": 1, "b2": 1, "eps": 0})

# Each entry is proven by tests/views/test_inject.py: a refused step, first or later,
# leaves every bit of the optimizer's state as it is. `nadam` is a partial of `adam`.
_EXACT: dict[Callable[..., Any], _Exact] = {
    optax.adam: _ADAM,
    optax.adamw: _ADAM,
    optax.adabelief: _Exact({"b1": 1, "b2": 1, "eps_root": 0}),
    optax.adamax: _ADAMAX,
    optax.adamaxw: _ADAMAX,
    optax.yogi: _ADAM,
    optax.lamb: _ADAM,
    optax.adadelta: _Exact({"rho": 1}),
    optax.contrib.ademamix: _Exact({"b1": 1, "b2": 1, "b3": 1}),
    optax.lion: _Exact({"b2": 1}),
    optax.rmsprop: _Exact({"decay": 1}, spoilers=("momentum",)),
    optax.adagrad: _Exact({}),
    optax.sgd: _Exact({"momentum": 1}),
    optax.contrib.muon: _Exact({"beta": 1, "adam_b1": 1, "adam_b2": 1}),
}


def _name(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__name__", repr(factory))
