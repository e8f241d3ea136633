"""How a checkpoint fits what it shall be restored into."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SHOWN = 8  # names in a message


def leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves by path, spelt alike for tuples, dicts and NamedTuples."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_spell(path): leaf for path, leaf in flat}


def check_savable(tree: Any) -> None:
    """Refuses leaves for which Orbax would leave a half-written directory behind."""
    several = jax.process_count() > 1
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    if flat and not flat[0][0]:
        raise ValueError(
            "What is saved must be a tree with arrays in it, not one array, such as "
            "{'params': params, 'opt_state': opt_state}."
        )
    # Most trees have no such key, and a save waits for this.
    keys = {getattr(key, "key", None) for path, _ in flat for key in path}
    slashed = flat if any("/" in str(key) for key in keys) else []
    for path, count in Counter(_spell(path) for path, _ in slashed).items():
        if count > 1:
            raise ValueError(
                f"Two leaves are at `{path}`, since a key has a slash in it. Give them "
                "names that differ without it."
            )
    for path, leaf in flat:
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


class Fit(NamedTuple):
    """Which leaf of a checkpoint goes where, by path."""

    sources: dict[str, str]
    new: list[str]
    dropped: list[str]

    def __str__(self) -> str:
        moved = [f"`{a}` is `{b}` there" for a, b in self.sources.items() if a != b]
        said = [
            _listed(self.new, "starts at its initial value", "start at theirs"),
            _listed(self.dropped, "was dropped", "were dropped"),
            *moved[:SHOWN],
            *([f"and so on for {len(moved)}"] if len(moved) > SHOWN else []),
        ]
        return "; ".join(filter(None, said))


def paired(ours: Collection[str], theirs: Collection[str]) -> dict[str, str]:
    """Returns the path there of every path here that has one.

    It is the same, or where elements of a chain have got other numbers the one that is
    the same but for numbers, if it is the only one on both sides.
    """
    found = {path: path for path in ours if path in theirs}
    left = _unnumbered(path for path in ours if path not in found)
    others = _unnumbered(path for path in theirs if path not in found)
    for name, mine in left.items():
        match = others.get(name, [])
        if (len(mine), len(match)) == (1, 1):
            found[mine[0]] = match[0]
    return found


def fit(template: Any, saved: Mapping[str, Any], where: str) -> Fit:
    """Finds the leaf of a checkpoint for every leaf of a template.

    Args:
      template: The tree to restore into.
      saved: What the checkpoint holds, by path: anything with a shape and a dtype.
      where: Which checkpoint it is, for the message.

    Raises:
      ValueError: If a leaf has another shape or dtype, for Orbax would cast silently,
        or if nothing fits.
    """
    ours = leaves(template)
    sources = paired(ours, saved)
    advice = (
        " Restore it with the model, optimizer and controllers that wrote it, or "
        "start anew in another directory."
    )
    if ours and saved and not sources:
        raise ValueError(
            f"{where} does not fit: it holds {_listed([*saved], '', '')} and the "
            f"template {_listed([*ours], '', '')}.{advice}"
        )
    for path, source in sources.items():
        there, here = _kind(saved[source]), _kind(ours[path])
        if isinstance(ours[path], (bool, int, float)):
            # A Python number has no precision of its own to insist on.
            there, here = there.rstrip("0123456789[]"), here.rstrip("0123456789[]")
        if there != here:
            raise ValueError(
                f"{where} does not fit: `{path}` is {there} there and {here} here."
                f"{advice}"
            )
    used = set(sources.values())
    return Fit(
        {path: sources[path] for path in ours if path in sources},
        [path for path in ours if path not in sources],
        [path for path in saved if path not in used],
    )


def target(saved: Any, template: Any, found: Fit) -> Any:
    """Returns what to ask Orbax for: the tree of the checkpoint, with our leaves."""
    ours = leaves(template)
    wanted = {source: ours[path] for path, source in found.sources.items()}

    def ask(path: Any, leaf: Any) -> Any:
        # What is dropped is read all the same, to the host: Orbax reads whole trees.
        return wanted.get(_spell(path), np.empty(leaf.shape, leaf.dtype))

    return jax.tree_util.tree_map_with_path(ask, saved)


def filled(template: Any, restored: Any, found: Fit) -> Any:
    """Returns the template with the leaves of the checkpoint.

    Raises:
      ValueError: If a leaf that is new has no initial value.
    """
    theirs = leaves(restored)

    def take(path: Any, leaf: Any) -> Any:
        source = found.sources.get(_spell(path))
        if source is not None:
            return theirs[source]
        if isinstance(leaf, jax.ShapeDtypeStruct):
            raise ValueError(
                f"`{_spell(path)}` is not in the checkpoint, and the template is "
                "abstract, so it has no initial value. Restore into arrays."
            )
        return leaf

    return jax.tree_util.tree_map_with_path(take, template)


def _unnumbered(paths: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        name = "/".join(part for part in path.split("/") if not part.isdigit())
        found.setdefault(name, []).append(path)
    return found


def _listed(names: list[str], one: str, many: str) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = ", ".join(f"`{name}`" for name in names[:SHOWN])
    return f"{shown}{rest} {one if len(names) == 1 else many}".rstrip()


def _spell(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_array(leaf: Any) -> bool:
    if isinstance(leaf, (np.ndarray, np.generic)):
        return leaf.dtype.kind in "biufcV"
    return isinstance(leaf, (jax.Array, bool, int, float))


def _kind(leaf: Any) -> str:
    if isinstance(leaf, (bool, int, float)):
        leaf = np.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)  # as Orbax stores it
    return f"{np.dtype(leaf.dtype)}[{','.join(map(str, leaf.shape))}]"
