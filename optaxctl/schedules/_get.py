"""Find a schedule by its name, here or in torch."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import optaxctl.schedules as schedules
from optaxctl._core import checks
from optaxctl._core.checks import did_you_mean
from optaxctl.schedules._course import Schedule
from optaxctl.schedules._peers import PEERS
from optaxctl.schedules._torch import TORCH, Pair


def get(name: str, **arguments: Any) -> Schedule:
    """Returns the schedule that is called `name`, here or in torch.

    A name of this package takes the arguments of the function, one of torch those of
    torch, without the optimizer, whose rate is `lr` (1 by default, which makes the
    schedule a factor). A schedule of torch that cycles the momentum too gives the
    learning rate here; `hyperparams` gives both.

    Args:
      name: For instance `"cosine"` or `"CosineAnnealingLR"`.
      **arguments: What the schedule takes.

    Returns:
      A function of a step, an int32 scalar or array, to float32 values.

    Raises:
      ValueError: If the name or an argument is unknown, with the closest one, if an
        argument is missing, or if the schedule refuses its value.

    Example:
      >>> import optaxctl as octl
      >>> schedule = octl.schedules.get("StepLR", lr=0.1, step_size=30, gamma=0.5)
      >>> [round(float(schedule(step)), 4) for step in (0, 30, 60)]
      [0.1, 0.05, 0.025]

    References:
      `torch.optim.lr_scheduler`, Transformers' `get_scheduler`.
    """
    return _found(name, arguments)[0]


def hyperparams(
    name: str, *, momentum: str = "momentum", **arguments: Any
) -> dict[str, Schedule]:
    """Returns what a schedule moves, by the names of the hyper-parameters.

    Args:
      name: As `get` takes it.
      momentum: What the optimizer calls its momentum; `"b1"` for Adam.
      **arguments: What the schedule takes.

    Returns:
      The schedule of `learning_rate`, and that of the momentum where torch's scheduler
      cycles it, ready for `optax.inject_hyperparams` or `inject`.

    Raises:
      ValueError: As `get` does.

    Example:
      >>> import optax, optaxctl as octl
      >>> cycle = octl.schedules.hyperparams(
      ...     "OneCycleLR", max_lr=0.1, total_steps=100, momentum="b1"
      ... )
      >>> tx = optax.inject_hyperparams(optax.adam)(**cycle)
      >>> sorted(cycle)
      ['b1', 'learning_rate']

    References:
      torch's `OneCycleLR` and `CyclicLR`.
    """
    rate, cycled = _found(name, arguments)
    return {"learning_rate": rate} | ({momentum: cycled} if cycled else {})


def _found(name: str, arguments: dict[str, Any]) -> Pair:
    if name not in TORCH:
        return _call(name, _own(name), arguments), None
    try:
        return _call(name, TORCH[name], arguments)
    except ValueError as error:
        if name in str(error):
            raise
        raise ValueError(f"`schedules.get({name!r})`: {error}") from None


def _own(name: str) -> Callable[..., Any]:
    known = [n for n in schedules.__all__ if n not in ("Units", "get", "hyperparams")]
    if name == "times":
        raise ValueError(
            "`schedules.times` takes its schedules by position; call it itself."
        )
    if name in known:
        return getattr(schedules, name)
    if name in _CONTROLLERS:
        raise ValueError(
            f"`schedules.get(name={name!r})` is no schedule: it reads a signal. "
            f"It is the controller `{_CONTROLLERS[name]}`."
        )
    for ours, peers in PEERS.items():
        for library, theirs in peers.items():
            if name in re.sub(r"\(.*?\)|,", " ", theirs).split():
                raise ValueError(
                    f"`schedules.get(name={name!r})`: {library}'s {name} is "
                    f"`schedules.{ours}` here."
                )
    every = [*known, *TORCH]
    raise ValueError(
        f"`schedules.get(name={name!r})` is no schedule of optaxctl or torch. There "
        f"are {', '.join(sorted(every))}." + did_you_mean(str(name), every)
    )


_CONTROLLERS = {
    "ReduceLROnPlateau": "lr.plateau",
    "reduce_on_plateau": "lr.plateau",
    "GreedyLR": "lr.greedy",
}


def _call(name: str, make: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    known = inspect.signature(make).parameters
    who = f"`schedules.get({name!r})`"
    takes = f"It takes {', '.join(known)}."
    for argument, value in arguments.items():
        if argument not in known:
            hint = did_you_mean(argument, known)
            raise ValueError(f"{who} takes no `{argument}`. {takes}{hint}")
        if known[argument].annotation is float:
            checks.finite("schedules.get", **{argument: value})
    for parameter in known.values():
        if parameter.default is parameter.empty and parameter.name not in arguments:
            raise ValueError(f"{who} needs `{parameter.name}`. {takes}")
    return make(**arguments)
