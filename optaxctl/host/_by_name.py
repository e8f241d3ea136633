"""Control state by name, so that a checkpoint outlives a change of controllers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from optaxctl._core.checks import closest
from optaxctl.views._state import ControlState

CONTROL = "control"


def unpacked(tree: Any) -> Any:
    """Returns the tree with every control state as what it holds, by name.

    The arrays are fetched, which costs little: they are a few kilobytes.
    """

    def visit(state: Any) -> Any:
        if not _is_state(state):
            return state
        content = state.layout.unpack(*jax.device_get((state.f32, state.i32)))
        names = [slot.name for slot in state.layout.slots]
        leaves = map(np.asarray, jax.tree.leaves(content))
        return {
            CONTROL: _nested(dict(zip(names, leaves, strict=True))),
            "inner": unpacked(state.inner),
            "snapshots": state.snapshots,
        }

    return jax.tree.map(visit, tree, is_leaf=_is_state)


def expected(template: Any, saved: Mapping[str, Any], path: str = "") -> Any:
    """Returns what to restore: control state as it was saved, the rest as here.

    Args:
      template: The tree to restore into.
      saved: What the checkpoint holds, by path: anything with a shape and a dtype.
      path: Where the template lies in the checkpoint.
    """

    def visit(at: Any, state: Any) -> Any:
        where = _join(path, _spell(at))
        names = _under(f"{where}/{CONTROL}", saved)
        if not _is_state(state) or not names:
            return state  # not ours, or packed, as a plain save leaves it
        return {
            CONTROL: _nested({n: np.empty(x.shape, x.dtype) for n, x in names.items()}),
            "inner": expected(state.inner, saved, f"{where}/inner"),
            "snapshots": state.snapshots,
        }

    return jax.tree_util.tree_map_with_path(visit, template, is_leaf=_is_state)


class Changes(NamedTuple):
    """What a checkpoint and a template do not have in common, by name."""

    new: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        said = {"start at their initial values": self.new, "were dropped": self.dropped}
        return "; ".join(f"{', '.join(n)} {what}" for what, n in said.items() if n)


def packed(
    restored: Any, template: Any, renamed: Mapping[str, str], changes: Changes
) -> Any:
    """Puts restored control state into the arrays of the template, by name.

    What the checkpoint does not have keeps its value, and what is not here is dropped;
    both are noted in `changes`.

    Raises:
      ValueError: If a name has another shape or dtype there, or a renamed controller
        is not there.
    """

    def visit(state: Any, found: Any) -> Any:
        if not _is_state(state) or _is_state(found):
            return found
        leaves = {
            _renamed(_spell(path), renamed): leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(found[CONTROL])[0]
        }
        f32, i32 = (np.array(jax.device_get(x)) for x in (state.f32, state.i32))
        lead = f32.shape[:-1]
        for slot in state.layout.slots:
            if slot.name not in leaves:
                changes.new.append(f"`{slot.name}`")
                continue
            value = leaves.pop(slot.name)
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
        changes.dropped.extend(f"`{name}`" for name in leaves)
        return state._replace(
            f32=_like(f32, state.f32),
            i32=_like(i32, state.i32),
            inner=packed(found["inner"], state.inner, renamed, changes),
            snapshots=found["snapshots"],
        )

    return jax.tree.map(visit, template, restored, is_leaf=_is_state)


def check_renamed(renamed: Mapping[str, str], saved: Mapping[str, Any]) -> None:
    """Refuses a mapping from controllers that no control state in a checkpoint has."""
    known = set()
    for path in saved:
        _, _, name = path.partition(f"/{CONTROL}/controller/")
        if name:
            known.add(name.partition("/")[0])
    for old in renamed:
        if old not in known:
            near = closest(old, known)
            raise ValueError(
                f"`renamed` names the controller `{old}`, and the checkpoint has "
                f"{', '.join(sorted(known)) or 'none by name'}."
                + (f" Did you mean `{near}`?" if near else "")
            )


def _renamed(name: str, renamed: Mapping[str, str]) -> str:
    head, _, rest = name.partition("/")
    if head not in ("controller", "gauges"):
        return name
    controller, slash, rest = rest.partition("/")
    return f"{head}/{renamed.get(controller, controller)}{slash}{rest}"


def _like(array: np.ndarray, other: Any) -> Any:
    return (
        jax.device_put(array, other.sharding) if hasattr(other, "sharding") else array
    )


def _nested(leaves: Mapping[str, Any]) -> Any:
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def _under(path: str, leaves: Mapping[str, Any]) -> dict[str, Any]:
    start = f"{path.lstrip('/')}/"
    return {n.removeprefix(start): x for n, x in leaves.items() if n.startswith(start)}


def _spell(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _is_state(x: Any) -> bool:
    return isinstance(x, ControlState)
