"""Where data iterators are, in a checkpoint: one JSON file a process.

An iterator is anything with `get_state` and `set_state`, as Grain's are. What
`get_state` returns is bytes, or what JSON can hold.
"""

import base64
import json
import warnings
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

    Warns if it saved some and `data` is None; none at all, as `{}`, is said on purpose.

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
    if data is None and directory.exists():
        warnings.warn(
            f"{where} has the position of the data, which is not restored. Pass "
            "`data=...` to go on there, or `data={}` to move them yourself.",
            stacklevel=4,  # who called `Checkpoints.restore`
        )
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
            "own share of the data, so restore it with as many, or with `data={}` and "
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
    """Moves the iterators to where they were.

    Raises:
      ValueError: If one does not take its state.
    """
    done: list[str] = []
    for name, iterator in _named(data).items():
        try:
            iterator.set_state(states[name])
        except Exception as error:
            raise ValueError(
                f"{_spell(name)} could not be moved to where it was: "
                f"{type(error).__name__}: {error}. "
                + (f"Moved before it: {', '.join(done)}. " if done else "")
                + "Build the data anew before it is used."
            ) from error
        done.append(_spell(name))


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
    except (TypeError, ValueError) as error:
        raise TypeError(f"The state of {_spell(name)} is not JSON: {error}.") from error
    if changed := _changed(state):
        raise TypeError(
            f"The state of {_spell(name)} is not JSON: it has {changed}. Return it as "
            "JSON would, or as bytes."
        )
    return {"json": copy}


def _changed(state: Any) -> str:
    """What JSON would make something else of, in words."""
    if isinstance(state, tuple):
        return "a tuple, which would come back as a list"
    inside = state if isinstance(state, list) else []
    if isinstance(state, dict):
        if odd := [key for key in state if not isinstance(key, str)]:
            return f"the key {odd[0]!r}, which would come back as a string"
        inside = state.values()
    return next(filter(None, map(_changed, inside)), "")


def _decoded(state: Mapping[str, Any]) -> Any:
    return base64.b64decode(state["base64"]) if "base64" in state else state["json"]


def _spell(name: str) -> str:
    return f'`data["{name}"]`' if name else "`data`"


def _listed(named: Mapping[str, Any]) -> str:
    names = ", ".join(f"`{name}`" for name in named if name)
    return names or ("one without a name" if named else "none")
