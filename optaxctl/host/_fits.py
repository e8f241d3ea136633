"""Whether a checkpoint fits what it shall be restored into."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves by path, spelt alike for tuples, dicts and NamedTuples."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_spell(path): leaf for path, leaf in flat}


def check_savable(tree: Any) -> None:
    """Refuses leaves for which Orbax would leave a half-written directory behind."""
    several = jax.process_count() > 1
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not _is_array(leaf) or not np.size(leaf):
            what = "an empty array" if _is_array(leaf) else repr(leaf)
            raise ValueError(
                f"`{_spell(path)}` is {what}, which a checkpoint cannot hold. Take it "
                "out of the tree."
            )
        if several and isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
            raise ValueError(
                f"`{_spell(path)}` is an array of this process alone, which a "
                f"checkpoint of {jax.process_count()} processes cannot hold. Put it on "
                "the mesh: `jax.device_put(x, NamedSharding(mesh, PartitionSpec()))`."
            )


def check_fits(template: Any, saved: dict[str, Any], where: str) -> None:
    """Refuses other names, shapes and dtypes; Orbax would cast silently.

    Args:
      template: The tree to restore into.
      saved: What the checkpoint holds, by path: anything with a shape and a dtype.
      where: Which checkpoint it is, for the message.
    """
    ours = leaves(template)
    begin = f"{where} does not fit: "
    advice = (
        " Restore it with the model, optimizer and controllers that wrote it, or "
        "start anew in another directory."
    )
    for path in [*ours, *saved]:
        if path not in saved or path not in ours:
            side = "in the checkpoint" if path in saved else "here"
            raise ValueError(f"{begin}`{path}` is only {side}.{advice}")
        theirs, expected = _kind(saved[path]), _kind(ours[path])
        # A Python number has no precision of its own to insist on.
        if isinstance(ours[path], (bool, int, float)) and theirs.endswith("[]"):
            continue
        if theirs != expected:
            raise ValueError(
                f"{begin}`{path}` is {theirs} there and {expected} here.{advice}"
            )


def _spell(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float))


def _kind(leaf: Any) -> str:
    if isinstance(leaf, (bool, int, float)):
        leaf = np.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)  # as Orbax stores it
    return f"{np.dtype(leaf.dtype)}[{','.join(map(str, leaf.shape))}]"
