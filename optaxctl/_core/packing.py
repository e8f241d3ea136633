"""Many scalars in two arrays, because every leaf costs a jitted call microseconds."""

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Slot(NamedTuple):
    """Where a leaf lives: its path, kind, shape and place in the array of its kind."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@jax.tree_util.register_static
class Layout:
    """The names and offsets of a packed tree; compared by value, so it never retraces.

    `bool` leaves travel as integers. The first integer of a packed tree is the
    fingerprint of its layout: a checkpoint of another controller, equal in size, is
    told apart by it. `calls` says how the controllers were made, by name, and `moves`
    which fields of a decision they move; these have no part in comparisons: states of
    one layout fit together however they are set. So a program that JAX compiled for one
    setting and runs again for another, as a jitted `observe`, notes the calls of the
    first, until the next step of the optimizer notes its own.
    """

    __slots__ = (
        "_hash",
        "_sizes",
        "_where",
        "calls",
        "fingerprint",
        "moves",
        "slots",
        "treedef",
    )

    def __init__(
        self,
        tree: Any,
        calls: Mapping[str, str] = MappingProxyType({}),
        moves: frozenset[str] = frozenset(),
    ):
        self.calls, self.moves = calls, moves
        leaves, self.treedef = jax.tree_util.tree_flatten_with_path(tree)
        ends = {"float32": 0, "int32": 1}
        slots = []
        for path, leaf in leaves:
            dtype, name = str(leaf.dtype), _name(path)
            if dtype not in ("float32", "int32", "bool"):
                raise TypeError(
                    f"Control state must be float32, int32 or bool; `{name}` is "
                    f"{dtype}. Cast it where it is computed."
                )
            home = "int32" if dtype == "bool" else dtype
            slots.append(Slot(name, dtype, tuple(leaf.shape), ends[home]))
            ends[home] += int(np.prod(leaf.shape))
        self._sizes = ends
        self.slots = tuple(slots)
        self._where = {slot.name: slot for slot in slots}
        self._hash = hash(self.slots)
        self.fingerprint = zlib.crc32(repr(self.slots).encode()) & 0x7FFFFFFF

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Layout):
            return NotImplemented
        return self.slots == other.slots and self.treedef == other.treedef

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Layout({len(self.slots)} slots, fingerprint={self.fingerprint})"

    def pack(self, tree: Any, fingerprint: Any = None) -> tuple[Array, Array]:
        """Returns the leaves of `tree` as one float32 and one int32 array.

        Scalars are put in place by selects, which XLA fuses into one kernel for each
        array, where a concatenation makes it compile and run a kernel for every leaf.
        A step passes on the `fingerprint` that it found, so a wrong one stays wrong.
        """
        f32 = jnp.zeros((self._sizes["float32"],), jnp.float32)
        mark = self.fingerprint if fingerprint is None else fingerprint
        i32 = jnp.full((self._sizes["int32"],), mark, jnp.int32)
        pairs = zip(self.treedef.flatten_up_to(tree), self.slots, strict=True)
        for leaf, slot in sorted(pairs, key=lambda pair: bool(pair[1].shape)):
            if slot.dtype == "float32":
                f32 = _put(slot, jnp.asarray(leaf, jnp.float32), f32)
            else:
                i32 = _put(slot, jnp.asarray(leaf).astype(jnp.int32), i32)
        return f32, i32

    def unpack(self, f32: Any, i32: Any) -> Any:
        """Returns the tree; leading axes, as under `vmap`, stay in front of a leaf."""
        return self.treedef.unflatten([_take(slot, f32, i32) for slot in self.slots])

    def write(self, f32: Array, i32: Array, values: dict[str, Any]) -> Any:
        """Returns the arrays with scalars replaced by path, leading axes or not."""
        for name, value in values.items():
            slot = self._where[name]
            if slot.dtype == "float32":
                f32 = f32.at[..., slot.offset].set(jnp.asarray(value, jnp.float32))
            else:
                number = jnp.asarray(value).astype(jnp.int32)
                i32 = i32.at[..., slot.offset].set(number)
        return f32, i32

    def keys(self, field: str) -> list[str]:
        """Returns the names directly under a top-level field of the tree, sorted."""
        paths = [slot.name.split("/") for slot in self.slots]
        return sorted({path[1] for path in paths if path[0] == field})


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _put(slot: Slot, leaf: Array, packed: Array) -> Array:
    if slot.shape:
        return jax.lax.dynamic_update_slice(packed, leaf.reshape(-1), (slot.offset,))
    here = jax.lax.iota(jnp.int32, packed.size) == slot.offset
    return jax.lax.select(here, jax.lax.broadcast(leaf, packed.shape), packed)


def _take(slot: Slot, f32: Any, i32: Any) -> Any:
    packed = f32 if slot.dtype == "float32" else i32
    if slot.shape:
        end = slot.offset + int(np.prod(slot.shape))
        value = packed[..., slot.offset : end].reshape(packed.shape[:-1] + slot.shape)
    else:
        value = packed[..., slot.offset]
    return value != 0 if slot.dtype == "bool" else value
