"""Checkpoints of a whole run, by Orbax: model, optimizer and controllers alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl._core.checks import count
from optaxctl.host._extras import load
from optaxctl.views._read import read
from optaxctl.views._state import states


class Checkpoints:
    """The last checkpoints of one run, in one directory.

    Saving is asynchronous: `save` copies the arrays and returns, and leaving the `with`
    block waits for the writing. A process killed while it writes leaves the checkpoint
    before it intact. With several processes all of them must call every method; Orbax
    writes each array once.

    Args:
      directory: Where to keep them; made if it does not exist.
      keep: How many to keep, >= 1; older ones are deleted once a newer is complete.

    Raises:
      MissingExtra: If Orbax is not installed.
      ValueError: If `keep` is not a whole number >= 1.

    Example:
      >>> import tempfile, jax.numpy as jnp, optaxctl as octl
      >>> with octl.checkpoint.Checkpoints(tempfile.mkdtemp()) as checkpoints:
      ...     checkpoints.save(100, {"w": jnp.ones(2)}, notes={"epoch": 5})
      ...     tree, notes = checkpoints.restore({"w": jnp.zeros(2)})
      >>> tree["w"].tolist(), notes
      ([1.0, 1.0], {'epoch': 5})
    """

    def __init__(self, directory: str | Path, *, keep: int = 1):
        count("checkpoint.Checkpoints", keep=keep)
        ocp = load("orbax.checkpoint", extra="orbax", who="`optaxctl.checkpoint`")
        self.directory = Path(directory).absolute()
        self._args = ocp.args
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(keep),
                cleanup_tmp_directories=True,
            ),
            # Named up front, so that a new process can look before it restores.
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "notes": ocp.JsonCheckpointHandler(),
            },
        )

    def latest(self) -> int | None:
        """Returns the step of the newest checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def save(
        self, step: int, tree: Any, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Saves a tree of arrays, and notes that JSON can hold, under a step.

        Raises:
          ValueError: If a leaf is no array or is empty, which Orbax cannot save, or if
            there is a checkpoint of this step or a later one.
        """
        # Orbax would leave a half-written directory and waiting threads behind.
        for path, leaf in _leaves(tree).items():
            if not _is_array(leaf) or not np.size(leaf):
                what = "an empty array" if _is_array(leaf) else repr(leaf)
                raise ValueError(
                    f"`{path}` is {what}, which a checkpoint cannot hold. Take it out "
                    "of the tree."
                )
        saved = self._manager.save(
            step,
            args=self._args.Composite(
                state=self._args.StandardSave(tree),
                notes=self._args.JsonSave(dict(notes or {})),
            ),
        )
        if not saved:
            raise ValueError(
                f"{self.directory} holds a checkpoint of step {self.latest():,} "
                f"already, so step {step:,} cannot be saved."
            )

    def restore(
        self, template: Any, step: int | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Returns a saved tree in the structure of `template`, and its notes.

        Args:
          template: A tree of the structure, shapes and dtypes to expect, such as the
            freshly initialised one. Arrays come back with its sharding.
          step: Which checkpoint; the newest by default.

        Raises:
          FileNotFoundError: If there is no such checkpoint.
          ValueError: If a leaf is missing, or has another shape or dtype, or if a
            control state in it was packed by other controllers.
        """
        self._manager.wait_until_finished()
        step = self.latest() if step is None else step
        if step is None or step not in self._manager.all_steps():
            of = "" if step is None else f" of step {step:,}"
            raise FileNotFoundError(f"{self.directory} holds no checkpoint{of}.")
        self._compare(template, step)
        found = self._manager.restore(
            step,
            args=self._args.Composite(
                state=self._args.StandardRestore(template),
                notes=self._args.JsonRestore(),
            ),
        )
        tree = found["state"]
        if states(tree):
            read(tree)  # refuses a state that other controllers packed
        return tree, found["notes"]

    def close(self) -> None:
        """Waits until everything is written."""
        self._manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _compare(self, template: Any, step: int) -> None:
        """Orbax casts silently to the template's dtype, so dtypes are compared here."""
        saved = _leaves(self._manager.item_metadata(step)["state"].tree)
        ours = _leaves(template)
        where = f"The checkpoint of step {step:,} in {self.directory} does not fit: "
        advice = (
            " Restore it with the model, optimizer and controllers that wrote it, or "
            "start anew in another directory."
        )
        for path in [*ours, *saved]:
            if path not in saved or path not in ours:
                side = "in the checkpoint" if path in saved else "here"
                raise ValueError(f"{where}`{path}` is only {side}.{advice}")
            theirs, expected = _kind(saved[path]), _kind(ours[path])
            # A Python number has no precision of its own to insist on.
            if isinstance(ours[path], (bool, int, float)) and theirs.endswith("[]"):
                continue
            if theirs != expected:
                raise ValueError(
                    f"{where}`{path}` is {theirs} there and {expected} here.{advice}"
                )


def _leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves by path, spelt alike for tuples, dicts and NamedTuples."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in flat
    }


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float))


def _kind(leaf: Any) -> str:
    if isinstance(leaf, (bool, int, float)):
        leaf = np.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)  # as Orbax stores it
    return f"{np.dtype(leaf.dtype)}[{','.join(map(str, leaf.shape))}]"
