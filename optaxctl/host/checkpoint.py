"""Checkpoints of a whole run, by Orbax: model, optimizer and controllers alike."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import jax

from optaxctl._core.checks import count, one_of
from optaxctl._core.types import Mode
from optaxctl.host import _iterators
from optaxctl.host._about import About, from_json
from optaxctl.host._by_name import Changes, check_renamed, held, joined, without
from optaxctl.host._checksums import newest_sound, seal
from optaxctl.host._extras import load
from optaxctl.host._fits import check_fits, check_savable, leaves
from optaxctl.host._ranking import Ranking
from optaxctl.views._read import read
from optaxctl.views._state import states


class Checkpoints:
    """The last checkpoints of one run, and the best, in one directory.

    Saving is asynchronous: `save` copies the arrays and returns, and leaving the `with`
    block waits for the writing. A process killed while it writes leaves the checkpoint
    before it intact. With several processes all of them must call every method; Orbax
    writes each array once.

    Checksums of the files are written with them. A checkpoint that is no longer as it
    was written is never restored: the one before it is, with a warning, and the damaged
    one stays beside it under the name `STEP.damaged`.

    The state of a `control` is written by name and put back by name: what a controller
    has learnt survives when others are added, taken out or set differently.

    Args:
      directory: Where to keep them; made if it does not exist.
      keep: How many of the last to keep, >= 1; older ones are deleted once a newer is
        complete. With 1 there is none to fall back to.
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
        keep: int = 2,
        best: str | None = None,
        mode: Mode = "min",
    ):
        count("checkpoint.Checkpoints", keep=keep)
        one_of("checkpoint.Checkpoints", "mode", mode, ("min", "max"))
        ocp = load("orbax.checkpoint", extra="orbax", who="`optaxctl.checkpoint`")
        path = load("etils.epath", extra="orbax", who="`optaxctl.checkpoint`").Path
        local = "://" not in str(directory)
        self.directory = path(directory).absolute() if local else path(directory)
        self._args, self._ranking = ocp.args, Ranking(best, mode)
        self._keep, self._tidy = keep, False
        self._saving: int | None = None
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                async_options=ocp.options.AsyncOptions(
                    post_finalization_callback=self._seal
                ),
                **self._ranking.options(ocp.checkpoint_managers, keep),
            ),
            # Named up front, so that a new process can look before it restores.
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "notes": ocp.JsonCheckpointHandler(),
                "data": _iterators.handler(ocp),
            },
        )

    def steps(self) -> list[int]:
        """Returns the steps of all complete checkpoints, the newest last."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """Returns the step of the newest checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Returns the step of the best checkpoint, or None if there is none.

        Raises:
          ValueError: If no metric was named that could tell.
        """
        if self._ranking.metric is None:
            raise ValueError(
                "Which checkpoint is best is not known: name a metric, "
                "`Checkpoints(..., best=...)`."
            )
        self.wait()
        return self._manager.best_step()

    def save(
        self,
        step: int,
        tree: Any,
        notes: Mapping[str, Any] | None = None,
        *,
        metrics: Mapping[str, Any] | None = None,
        data: Any = None,
    ) -> None:
        """Saves a tree of arrays, and notes that JSON can hold, under a step.

        `data` is an iterator with `get_state` and `set_state`, as those of Grain, or a
        dict of several; each process saves where its own is.

        Raises:
          OSError: If the disk does not take it, or did not take the one before.
          TypeError: If JSON cannot hold the notes, or `data` has no position that it
            can hold.
          ValueError: If a leaf is no array or is empty, which Orbax cannot save, if
            there is a checkpoint of this step or a later one, or if `metrics` is given
            and lacks the one that tells the best; without `metrics` it is not the best.
        """
        ranks = self._ranking.metrics(metrics)
        control = held(tree)
        told = About(control, dict(notes or {})).as_json()
        items = {"notes": self._args.JsonSave(told)}
        if data is not None:
            items["data"] = self._args.JsonSave(_iterators.positions(data))
        tree = without(tree, control)
        check_savable(tree)
        self.wait()
        if not self._tidy:
            self.tidy()
        items["state"] = self._args.StandardSave(tree)
        with self._writing(step):
            args = self._args.Composite(**items)
            saved = self._manager.save(step, args=args, metrics=ranks)
        if not saved:
            self._saving = None
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
        data: Any = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Returns a saved tree in the structure of `template`, and its notes.

        Everything must be there in the same shape and dtype, but for what controllers
        keep: a value that the checkpoint lacks starts at its initial value and one that
        is not in the template is dropped. A controller that is set differently keeps
        its state. One warning lists what is new, dropped and set differently.

        Args:
          template: A tree of the structure, shapes and dtypes to expect, such as the
            freshly initialised one. Arrays come back with its sharding.
          step: Which checkpoint; by default the newest that is not damaged.
          renamed: New names of controllers in `together`, by their names in the
            checkpoint.
          data: What was given to `save`, built anew. It is moved, in place, to where it
            was, once everything else is restored.

        Raises:
          FileNotFoundError: If there is no such checkpoint.
          ValueError: If the checkpoint is damaged, and was asked for or is the last, if
            a leaf is missing, or has another shape or dtype, if a control state that
            was saved packed, by plain Orbax, is of other controllers, if a renamed
            controller is not in the checkpoint, or if it has no position of `data`,
            or those of another number of processes.
        """
        self.wait()
        step = self._sound(step)
        renamed = renamed or {}
        where = f"The checkpoint of step {step:,} in {self.directory}"
        places = _iterators.saved(self.directory / f"{step}" / "data", data, where)
        about = self._read(step, notes=self._args.JsonRestore())
        control, notes = from_json(about, where)
        check_renamed(renamed, control)
        target = without(template, control)
        saved = self._manager.item_metadata(step)["state"].tree
        check_fits(target, leaves(saved), where)
        tree = self._read(step, state=self._args.StandardRestore(target))
        changes = Changes([], [], [])
        tree = joined(tree, template, control, renamed, changes)
        if any(changes):
            warnings.warn(
                f"The checkpoint of step {step:,} is of other controllers: {changes}.",
                stacklevel=2,
            )
        if len(states(tree)) > len(control):
            read(tree)  # refuses a state that other controllers packed
        _iterators.move(data, places)
        return tree, notes

    def discard(self, *, after: int) -> None:
        """Deletes the checkpoints of later steps, so that these can be saved again."""
        self.wait()
        for step in self.steps():
            if step > after:
                self._manager.delete(step)

    def tidy(self) -> None:
        """Deletes what a process left that was killed: half a save, or one too many.

        The first `save` does it too. Whoever only reads leaves a live run alone.
        """
        self._tidy = True
        if jax.process_index() == 0:
            for half in self.directory.glob("*.orbax-checkpoint-tmp"):
                half.rmtree()
        if surplus := self.steps()[: -self._keep]:
            best = self.best() if self._ranking.metric else None
            for step in surplus:
                if step != best:
                    self._manager.delete(step)

    def wait(self) -> None:
        """Waits until the save under way is complete.

        Raises:
          OSError: If the disk did not take it.
        """
        with self._writing(self._saving):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits until everything is written, and frees what that needed.

        Raises:
          OSError: If the disk did not take it.
        """
        with self._writing(self._saving):
            self._manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self, step: int, **item: Any) -> Any:
        found = self._manager.restore(step, args=self._args.Composite(**item))
        (content,) = found.values()
        return content

    @contextmanager
    def _writing(self, step: int | None) -> Iterator[None]:
        """Says which checkpoint it was, and where, if the disk does not take it."""
        self._saving = step
        try:
            yield
        except (OSError, ValueError) as error:
            if step is None:
                raise
            self._saving = None
            left = [s for s in self.steps() if s != step]
            raise OSError(
                f"The checkpoint of step {step:,} could not be written to "
                f"{self.directory}: {error} "
                + (f"That of step {left[-1]:,} is complete." if left else "")
            ) from error

    def _seal(self) -> None:
        """Adds checksums to a checkpoint, before it gets its final name."""
        if jax.process_index() == 0:
            # Where nothing can be renamed, as in a bucket, it has its name already.
            unnamed = self.directory / f"{self._saving}.orbax-checkpoint-tmp"
            named = self.directory / str(self._saving)
            seal(unnamed if unnamed.exists() else named)

    def _sound(self, step: int | None) -> int:
        known = [s for s in self.steps() if step in (None, s)]
        if not known:
            of = "" if step is None else f" of step {step:,}"
            raise FileNotFoundError(f"{self.directory} holds no checkpoint{of}.")
        sound = newest_sound(self.directory, known)
        if sound != known[-1]:
            self._manager.reload()
        return sound
