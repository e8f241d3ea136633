"""Control state by name, so that a checkpoint outlives a change of controllers."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from optaxctl._core.packing import Layout
from optaxctl.host._changes import (
    Changes,
    Side,
    applying,
    check_applied,
    check_known,
    moved,
)
from optaxctl.host._fits import paired
from optaxctl.views._state import ControlState

Held = dict[str, dict[str, Any]]
"""What controls hold, by the path of the control, as JSON can keep it.

Of each: its `values` by name, and the `calls` that made its controllers.
"""


def held(tree: Any) -> Held:
    """Returns what every control state in a tree holds, by name.

    The arrays are fetched, which costs little: they are a few kilobytes. With several
    processes all must call this, and what they get is the same.

    Raises:
      ValueError: If two have the same path, since a key has a slash in it.
    """
    found: Held = {}
    for where, state in _states(tree):
        arrays = _fetched(state.f32), _fetched(state.i32)
        leaves = jax.tree.leaves(state.layout.unpack(*arrays))
        names = _names(state.layout)
        values = dict(zip(names, map(_encoded, leaves), strict=True))
        if where in found or len(values) < len(names):
            twice = where if where in found else _twice(names)
            raise ValueError(
                f"Two things of the control state are at `{twice}`, since a key has a "
                "slash in it. Give them names that differ without it."
            )
        found[where] = {"values": values, "calls": dict(state.layout.calls)}
    return found


def placed(known: Held, template: Any) -> Held:
    """Returns it by the paths that the controls have in a template.

    They differ where a chain that a control is in grew or shrank.
    """
    found = paired([at for at, _ in _states(template)], known)
    gone = known.keys() - found.values()
    return {at: known[source] for at, source in found.items()} | {
        at: state for at, state in known.items() if at in gone
    }


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


def joined(
    restored: Any,
    template: Any,
    known: Held,
    renamed: Mapping[str, str],
    changes: Changes,
) -> Any:
    """Puts what controls held into the arrays of the template, by name.

    What the checkpoint does not have keeps its value, and what is not here is dropped;
    both are noted in `changes`, and so is what is made by another call.

    Raises:
      ValueError: If a name has another shape or dtype there, if a controller is renamed
        to one that is not here, or two are to one.
    """
    layouts = {at: state.layout for at, state in _states(template) if at in known}
    here = {at: Side(_names(layout), layout.calls) for at, layout in layouts.items()}
    there = {at: _side(known[at]) for at in here}
    found = {at: applying(renamed, there[at], here[at]) for at in here}
    check_applied(renamed, found.values(), there.values(), here.values())
    values = {}
    for at, names in found.items():
        where = at if len(here) > 1 else ""
        changes.note(there[at].renamed(names), here[at], where)
        values[at] = {moved(n, names): x for n, x in known[at]["values"].items()}
    gone = [at for at in known if at not in here]
    changes.dropped.extend(
        f"the control of `{at}`" if at else "the control" for at in gone
    )
    return _joined(restored, template, values)


def check_renamed(renamed: Mapping[str, str], known: Held) -> None:
    """Refuses a mapping from controllers that no control state in a checkpoint has.

    Raises:
      ValueError: If there is one.
    """
    check_known(renamed, map(_side, known.values()))


def _joined(restored: Any, template: Any, values: Held, path: str = "") -> Any:
    def visit(at: Any, state: Any, found: Any) -> Any:
        if not _is_state(state) or (where := _join(path, _spell(at))) not in values:
            return found
        rest = _joined(found, _rest(state), values, where)
        return _filled(state, values[where])._replace(**rest)

    return jax.tree_util.tree_map_with_path(
        visit, template, restored, is_leaf=_is_state
    )


def _filled(state: ControlState, values: Mapping[str, Any]) -> ControlState:
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
            continue
        value = _decoded(values[slot.name])
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
    if isinstance(state.rows, jax.ShapeDtypeStruct):
        empty = np.zeros(state.rows.shape, state.rows.dtype)
        state = state._replace(rows=_like(empty, state.rows))
    return state._replace(f32=_like(f32, state.f32), i32=_like(i32, state.i32))


def _states(tree: Any, path: str = "") -> Iterator[tuple[str, ControlState]]:
    """Every control state by path, an outer one before those inside it."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_state)
    for at, state in flat:
        if _is_state(state):
            where = _join(path, _spell(at))
            yield where, state
            yield from _states(_rest(state), where)


def _names(layout: Layout) -> list[str]:
    return [slot.name for slot in layout.slots]


def _side(state: Mapping[str, Any]) -> Side:
    return Side(list(state["values"]), state["calls"])


def _twice(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _rest(state: ControlState) -> dict[str, Any]:
    """What is beside the arrays of control, and may have control in it.

    Not its rows: what comes back has those of the template, as they belong to the
    record of what happened, and fit no other controllers.
    """
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
