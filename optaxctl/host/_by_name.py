"""Control state by name, so that a checkpoint outlives a change of controllers."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from optaxctl._core.checks import closest
from optaxctl.views._state import ControlState

Held = dict[str, dict[str, Any]]
"""What controls hold, by the path of the control, as JSON can keep it.

Of each: its `values` by name, and the `calls` that made its controllers.
"""


def held(tree: Any, path: str = "") -> Held:
    """Returns what every control state in a tree holds, by name.

    The arrays are fetched, which costs little: they are a few kilobytes. With several
    processes all must call this, and what they get is the same.
    """
    found: Held = {}
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_state)
    for at, state in flat:
        if _is_state(state):
            where = _join(path, _spell(at))
            arrays = _fetched(state.f32), _fetched(state.i32)
            leaves = jax.tree.leaves(state.layout.unpack(*arrays))
            names = [slot.name for slot in state.layout.slots]
            values = dict(zip(names, map(_encoded, leaves), strict=True))
            found[where] = {"values": values, "calls": dict(state.layout.calls)}
            found |= held(_rest(state), where)
    return found


def without(tree: Any, known: Mapping[str, Any], path: str = "") -> Any:
    """Returns the tree without what the controls hold that are `known`, by path.

    The others are packed, as a plain save by Orbax leaves them.
    """

    def visit(at: Any, state: Any) -> Any:
        if not _is_state(state):
            return state
        where = _join(path, _spell(at))
        return without(_rest(state), known, where) if where in known else state

    return jax.tree_util.tree_map_with_path(visit, tree, is_leaf=_is_state)


class Changes(NamedTuple):
    """What a checkpoint and a template do not have in common, by name."""

    new: list[str]
    dropped: list[str]
    made: list[str]

    def __str__(self) -> str:
        said = {"start at their initial values": self.new, "were dropped": self.dropped}
        parts = [f"{', '.join(names)} {what}" for what, names in said.items() if names]
        return "; ".join([*parts, *self.made])


def joined(
    restored: Any,
    template: Any,
    known: Held,
    renamed: Mapping[str, str],
    changes: Changes,
    path: str = "",
) -> Any:
    """Puts what controls held into the arrays of the template, by name.

    What the checkpoint does not have keeps its value, and what is not here is dropped;
    both are noted in `changes`, and so is what is made by another call.

    Raises:
      ValueError: If a name has another shape or dtype there, or a renamed controller
        is not there.
    """

    def visit(at: Any, state: Any, found: Any) -> Any:
        if not _is_state(state) or (where := _join(path, _spell(at))) not in known:
            return found
        values = known[where]["values"]
        values = {_renamed(name, renamed): value for name, value in values.items()}
        for old, call in known[where]["calls"].items():
            name = renamed.get(old, old)
            now = state.layout.calls.get(name, call)
            if now != call:
                which = f"`{name}`" if name else "the controller"
                changes.made.append(f"{which} was {call} and is {now}")
        rest = joined(found, _rest(state), known, renamed, changes, where)
        return _filled(state, values, changes)._replace(**rest)

    return jax.tree_util.tree_map_with_path(
        visit, template, restored, is_leaf=_is_state
    )


def check_renamed(renamed: Mapping[str, str], known: Held) -> None:
    """Refuses a mapping from controllers that no control state in a checkpoint has."""
    parts = [name.split("/") for state in known.values() for name in state["values"]]
    old = {part[1] for part in parts if part[0] == "controller" and len(part) > 2}
    for name in renamed:
        if name not in old:
            near = closest(name, old)
            raise ValueError(
                f"`renamed` names the controller `{name}`, and the checkpoint has "
                f"{', '.join(sorted(old)) or 'none by name'}."
                + (f" Did you mean `{near}`?" if near else "")
            )


def _filled(
    state: ControlState, values: dict[str, Any], changes: Changes
) -> ControlState:
    abstract = isinstance(state.f32, jax.ShapeDtypeStruct)
    f32, i32 = (
        np.zeros(x.shape, x.dtype) if abstract else np.array(_fetched(x))
        for x in (state.f32, state.i32)
    )
    if abstract:
        i32[..., 0] = state.layout.fingerprint
    lead = f32.shape[:-1]
    for slot in state.layout.slots:
        if slot.name not in values:
            if abstract:
                raise ValueError(
                    f"`{slot.name}` is not in the checkpoint, and the template is "
                    "abstract, so it has no initial value. Restore into `tx.init(...)`."
                )
            changes.new.append(f"`{slot.name}`")
            continue
        value = _decoded(values.pop(slot.name))
        theirs = f"{value.dtype}{list(value.shape)}"
        ours = f"{slot.dtype}{[*lead, *slot.shape]}"
        if theirs != ours:
            raise ValueError(
                f"`{slot.name}` of the control state is {theirs} in the checkpoint "
                f"and {ours} here."
            )
        array = f32 if slot.dtype == "float32" else i32
        end = slot.offset + int(np.prod(slot.shape))
        array[..., slot.offset : end] = value.reshape(*lead, end - slot.offset)
    changes.dropped.extend(f"`{name}`" for name in values)
    return state._replace(f32=_like(f32, state.f32), i32=_like(i32, state.i32))


def _rest(state: ControlState) -> dict[str, Any]:
    """What is beside the arrays of control, and may have control in it."""
    return {"inner": state.inner, "snapshots": state.snapshots}


def _encoded(value: Any) -> list[Any]:
    array = np.asarray(value)
    # Not as numbers, since JSON has one NaN and floats have many.
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    bits = base64.b64encode(little.tobytes()).decode()
    return [str(array.dtype), list(array.shape), bits]


def _decoded(written: list[Any]) -> np.ndarray:
    dtype, shape, bits = written
    little = np.dtype(dtype).newbyteorder("<")
    array = np.frombuffer(base64.b64decode(bits), little).reshape(shape)
    return array.astype(dtype)


def _renamed(name: str, renamed: Mapping[str, str]) -> str:
    head, _, rest = name.partition("/")
    if head not in ("controller", "gauges"):
        return name
    controller, slash, rest = rest.partition("/")
    return f"{head}/{renamed.get(controller, controller)}{slash}{rest}"


def _fetched(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and not (
        array.is_fully_addressable or array.is_fully_replicated
    ):  # lanes that are spread over processes
        return multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


def _like(array: np.ndarray, other: Any) -> Any:
    if not hasattr(other, "sharding"):
        return array
    return jax.device_put(array, other.sharding)


def _spell(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _is_state(x: Any) -> bool:
    return isinstance(x, ControlState)
