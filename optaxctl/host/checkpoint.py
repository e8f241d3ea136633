"""Checkpoints of a whole run, by Orbax: model, optimizer and controllers alike."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl._core.checks import count, did_you_mean, one_of
from optaxctl._core.types import Mode
from optaxctl.host._by_name import Changes, check_renamed, expected, packed, unpacked
from optaxctl.host._extras import load
from optaxctl.views._read import read
from optaxctl.views._state import states


class Checkpoints:
    """The last checkpoints of one run, and the best, in one directory.

    Saving is asynchronous: `save` copies the arrays and returns, and leaving the `with`
    block waits for the writing. A process killed while it writes leaves the checkpoint
    before it intact. With several processes all of them must call every method; Orbax
    writes each array once.

    The state of a `control` is written by name and put back by name: what a controller
    has learnt survives when others are added, taken out or set differently.

    Args:
      directory: Where to keep them; made if it does not exist.
      keep: How many of the last to keep, >= 1; older ones are deleted once a newer is
        complete.
      best: A metric whose best checkpoint is kept too, or None. It need not be the one
        that a rule of stopping watches. A value that is not finite is never the best;
        of equal ones the last is.
      mode: Whether lower ("min") or higher ("max") values of it are better.

    Raises:
      MissingExtra: If Orbax is not installed.
      ValueError: If an argument is out of range.

    Example:
      >>> import tempfile, jax.numpy as jnp, optaxctl as octl
      >>> with octl.checkpoint.Checkpoints(tempfile.mkdtemp()) as checkpoints:
      ...     checkpoints.save(100, {"w": jnp.ones(2)}, notes={"epoch": 5})
      ...     tree, notes = checkpoints.restore({"w": jnp.zeros(2)})
      >>> tree["w"].tolist(), notes
      ([1.0, 1.0], {'epoch': 5})
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 1,
        best: str | None = None,
        mode: Mode = "min",
    ):
        count("checkpoint.Checkpoints", keep=keep)
        one_of("checkpoint.Checkpoints", "mode", mode, ("min", "max"))
        ocp = load("orbax.checkpoint", extra="orbax", who="`optaxctl.checkpoint`")
        self.directory = Path(directory).absolute()
        self._args, self._best = ocp.args, best
        kept = ocp.checkpoint_managers.LatestN(keep)
        ranked: dict[str, Any] = {}
        if best is not None:
            worst = math.inf if mode == "min" else -math.inf

            def rank(metrics: Any) -> float:
                # Orbax would take a NaN for a rank, and drop the true best for it.
                value = float(metrics[best])
                return value if math.isfinite(value) else worst

            policies = ocp.checkpoint_managers
            first = policies.BestN(get_metric_fn=rank, reverse=mode == "min", n=1)
            kept = policies.AnyPreservationPolicy([first, kept])
            ranked = {"best_fn": rank, "best_mode": mode}
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=kept, cleanup_tmp_directories=True, **ranked
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

    def best(self) -> int | None:
        """Returns the step of the best checkpoint, or None if there is none.

        Raises:
          ValueError: If no metric was named that could tell.
        """
        if self._best is None:
            raise ValueError(
                "Which checkpoint is best is not known: name a metric, "
                "`Checkpoints(..., best=...)`."
            )
        self._manager.wait_until_finished()
        return self._manager.best_step()

    def save(
        self,
        step: int,
        tree: Any,
        notes: Mapping[str, Any] | None = None,
        *,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Saves a tree of arrays, and notes that JSON can hold, under a step.

        Raises:
          ValueError: If a leaf is no array or is empty, which Orbax cannot save, if
            there is a checkpoint of this step or a later one, or if `metrics` is given
            and lacks the one that tells the best; without `metrics` it is not the best.
        """
        ranks = None
        if self._best is not None:
            measured = {self._best: math.nan} if metrics is None else metrics
            if self._best not in measured:
                raise ValueError(
                    f"`save` got the metrics {', '.join(measured) or 'none'} and needs "
                    f"`{self._best}`, which tells the best checkpoint."
                    + did_you_mean(self._best, measured)
                )
            ranks = {self._best: float(measured[self._best])}
        tree = unpacked(tree)
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
            metrics=ranks,
        )
        if not saved:
            raise ValueError(
                f"{self.directory} holds a checkpoint of step {self.latest():,} "
                f"already, so step {step:,} cannot be saved."
            )

    def restore(
        self,
        template: Any,
        step: int | None = None,
        *,
        renamed: Mapping[str, str] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Returns a saved tree in the structure of `template`, and its notes.

        Everything must be there in the same shape and dtype, but for what controllers
        keep: a value that the checkpoint lacks starts at its initial value and one that
        is not in the template is dropped, with one warning that lists them.

        Args:
          template: A tree of the structure, shapes and dtypes to expect, such as the
            freshly initialised one. Arrays come back with its sharding.
          step: Which checkpoint; the newest by default.
          renamed: New names of controllers in `together`, by their names in the
            checkpoint.

        Raises:
          FileNotFoundError: If there is no such checkpoint.
          ValueError: If a leaf is missing, or has another shape or dtype, if a control
            state that was saved packed, by plain Orbax, is of other controllers, or if
            a renamed controller is not in the checkpoint.
        """
        self._manager.wait_until_finished()
        step = self.latest() if step is None else step
        if step is None or step not in self._manager.all_steps():
            of = "" if step is None else f" of step {step:,}"
            raise FileNotFoundError(f"{self.directory} holds no checkpoint{of}.")
        saved = _leaves(self._manager.item_metadata(step)["state"].tree)
        check_renamed(renamed or {}, saved)
        target = expected(template, saved)
        self._compare(target, saved, step)
        found = self._manager.restore(
            step,
            args=self._args.Composite(
                state=self._args.StandardRestore(target),
                notes=self._args.JsonRestore(),
            ),
        )
        changes = Changes([], [])
        tree = packed(found["state"], template, renamed or {}, changes)
        if any(changes):
            warnings.warn(
                f"The checkpoint of step {step:,} is of other controllers: {changes}.",
                stacklevel=2,
            )
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

    def _compare(self, template: Any, saved: dict[str, Any], step: int) -> None:
        """Orbax casts silently to the template's dtype, so dtypes are compared here."""
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
