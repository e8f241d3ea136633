"""What `control` refuses: arguments that make no sense, and two owners of one rate."""

from typing import Any

import jax
import optax
import optax.contrib

from optaxctl._core import checks
from optaxctl._core.controllers import Controller, require_controller, shape
from optaxctl.views._inject import Injected
from optaxctl.views._signals import COMPUTED, TOLD
from optaxctl.views._snapshots import Snapshots


def validate(
    inner: Any,
    controller: Any,
    observed: Any,
    record: Any,
    learning_rate: Any,
    snapshots: Any,
    rows: Any,
) -> None:
    """Refuses arguments of `control` that make no sense, alone or together."""
    require_controller("control", "controller", controller)
    if not (snapshots is None or isinstance(snapshots, Snapshots)):
        raise TypeError(
            f"`control(snapshots=...)` must be a `Snapshots(...)`, got {snapshots!r}."
        )
    if rows is not None:
        checks.count("control", rows=rows)
    for argument, names in (("observed", observed), ("record", record)):
        if isinstance(names, str):
            raise TypeError(
                f"`control({argument}={names!r})` must be a tuple of names."
            )
        if taken := sorted(COMPUTED & set(names)):
            raise ValueError(
                f"`control({argument}=...)` names `{taken[0]}`, which is measured here."
            )
    signals = {*observed, *record, *controller.signals}
    if taken := sorted(TOLD & signals):
        raise ValueError(
            f"A signal cannot be called `{taken[0]}`, under which `row` tells what a "
            "step did. Give it another name."
        )
    if both := sorted(set(observed) & set(record)):
        raise ValueError(
            f"`{both[0]}` is in `observed` and in `record`; observed signals are "
            "always recorded."
        )
    rate = learning_rate
    if isinstance(inner, Injected):
        if rate is not None:
            raise ValueError(
                "`control(learning_rate=...)` is for ready-made optimizers; `inject` "
                "owns the rate already. Leave it out."
            )
        rate = inner.rules.get("learning_rate")
    if callable(rate) and _follows(controller):
        raise ValueError(
            "Two schedules own the learning rate: the optimizer's and the one in "
            "`lr.follow`. Make the optimizer's a number."
        )


def _follows(controller: Controller) -> bool:
    """Whether some part is a schedule: it reads nothing but steps, and moves a rate."""
    if controller.parts:
        return any(map(_follows, controller.parts.values()))
    steps = controller.signals == {"accepted"}
    return steps and "lr_scale" in shape(controller)[0]


def refuse_rivals(state: Any, *, owned: bool) -> None:
    """Refuses what lives inside the optimizer and cannot bear a scaled update."""
    rivals: dict[type, str] = {
        optax.contrib.ReduceLROnPlateauState: "Two controllers own the learning rate: "
        "`optax.contrib.reduce_on_plateau` inside the optimizer and an `lr.*` around "
        "it. Take one of them out.",
    }
    if not owned:
        rivals[optax.contrib.ScheduleFreeState] = (
            "Schedule-free optimizers average in step with their own learning rate, so "
            "their updates cannot be scaled. Let control own the rate: "
            "`inject(optax.contrib.schedule_free_adamw, learning_rate=...)`."
        )
    kinds = tuple(rivals)
    for node in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kinds)):
        if isinstance(node, kinds):
            raise ValueError(rivals[type(node)])
