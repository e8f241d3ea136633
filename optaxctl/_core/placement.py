"""Where new state lies: beside the parameters that it belongs to."""

from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec


def beside(params: Any, tree: Any) -> Any:
    """Returns `tree` with what has no place yet on every device of the parameters.

    A step of sharded parameters returns all arrays on their mesh, so one that begins
    elsewhere is traced and compiled a second time; and where other processes own part
    of the mesh, it could not be saved. While tracing, and where the parameters are on
    no mesh or on several, the tree is returned as it is.
    """
    meshes = {
        leaf.sharding.mesh
        for leaf in jax.tree.leaves(params)
        if _is_concrete(leaf) and isinstance(leaf.sharding, NamedSharding)
    }
    if len(meshes) != 1:
        return tree
    everywhere = NamedSharding(meshes.pop(), PartitionSpec())

    def place(leaf: Any) -> Any:
        placed = not _is_concrete(leaf) or leaf.committed
        return leaf if placed else jax.device_put(leaf, everywhere)

    return jax.tree.map(place, tree)


def _is_concrete(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)
