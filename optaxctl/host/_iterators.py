"""Where data iterators are, in a checkpoint: one JSON file a process.

An iterator is anything with `get_state` and `set_state`, as Grain's are. What
`get_state` returns is bytes, or what JSON can hold.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import jax


def handler(ocp: Any) -> Any:
    """Returns the Orbax handler of the item; every process writes its own file."""
    every = ocp.options.MultiprocessingOptions(primary_host=None)
    return ocp.JsonCheckpointHandler(_file(), multiprocessing_options=every)


def positions(data: Any) -> dict[str, Any]:
    """Returns where an iterator, or each of several by name, is now, for JSON.

    It is a copy: the iterators may go on while it is written.

    Raises:
      TypeError: If something is no such iterator, or JSON would change its state.
    """
    return {name: _encoded(x.get_state(), name) for name, x in _named(data).items()}


def saved(directory: Any, data: Any, where: str) -> dict[str, Any]:
    """Returns the states that this process saved, by name, for `move`.

    Args:
      directory: Where the item lies in the checkpoint.
      data: The iterators to move; None if there are none.
      where: Which checkpoint it is, for the message.

    Raises:
      TypeError: If something is no such iterator.
      ValueError: If the checkpoint has no positions, those of another number of
        processes, or those of iterators with other names.
    """
    ours = _named(data)
    if not ours:
        return {}
    if not directory.exists():
        raise ValueError(
            f"{where} has no position of the data. Restore it without `data=` and move "
            "the iterator yourself."
        )
    file = directory / _file()
    if not file.exists():
        number = len(list(directory.glob("process_*.json")))
        raise ValueError(
            f"{where} has the positions of data in {number} process"
            f"{'es' * (number != 1)}, and {jax.process_count()} read it. Each has its "
            "own share of the data, so restore it with as many, or without `data=` and "
            "move the iterators yourself."
        )
    theirs = json.loads(file.read_text())
    if theirs.keys() != ours.keys():
        raise ValueError(
            f"{where} has the position of {_listed(theirs)}, and `data` is "
            f"{_listed(ours)}."
        )
    return {name: _decoded(state) for name, state in theirs.items()}


def move(data: Any, states: Mapping[str, Any]) -> None:
    """Moves the iterators to where they were."""
    for name, iterator in _named(data).items():
        iterator.set_state(states[name])


def _file() -> str:
    return f"process_{jax.process_index()}-of-{jax.process_count()}.json"


def _named(data: Any) -> dict[str, Any]:
    if data is None:
        return {}
    named = dict(data) if isinstance(data, Mapping) else {"": data}
    for name, iterator in named.items():
        if not (hasattr(iterator, "get_state") and hasattr(iterator, "set_state")):
            raise TypeError(
                f"{_spell(name)} is a {type(iterator).__name__}, which has no "
                "`get_state` and `set_state`, so its position cannot be saved. Pass an "
                "iterator that has both, as those of Grain, or a dict of such."
            )
    return named


def _encoded(state: Any, name: str) -> dict[str, Any]:
    if isinstance(state, bytes):
        return {"base64": base64.b64encode(state).decode()}
    try:
        copy = json.loads(json.dumps(state))
        kept = _paths(copy) == _paths(state)
    except (TypeError, ValueError) as error:
        raise TypeError(f"The state of {_spell(name)} is not JSON: {error}.") from error
    if not kept:
        raise TypeError(
            f"The state of {_spell(name)} is not JSON, where every key is a string and "
            "no tuple has names."
        )
    return {"json": copy}


def _decoded(state: Mapping[str, Any]) -> Any:
    return base64.b64decode(state["base64"]) if "base64" in state else state["json"]


def _paths(tree: Any) -> list[Any]:
    return [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def _spell(name: str) -> str:
    return f'`data["{name}"]`' if name else "`data`"


def _listed(named: Mapping[str, Any]) -> str:
    names = ", ".join(f"`{name}`" for name in named if name)
    return names or ("one without a name" if named else "none")
