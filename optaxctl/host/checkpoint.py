"""Checkpoints of a whole run, by Orbax: model, optimizer and controllers alike."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import jax

from optaxctl._core.checks import count, one_of
from optaxctl._core.types import Mode
from optaxctl.host import _iterators
from optaxctl.host._about import About
from optaxctl.host._by_name import held, without
from optaxctl.host._checksums import SEALED, newest_sound, put_aside, seal
from optaxctl.host._extras import load
from optaxctl.host._fits import check_savable
from optaxctl.host._half import HALF, delete, sweep
from optaxctl.host._ranking import Ranking
from optaxctl.host._saved import DATA, NOTES, STATE, restored


class Checkpoints:
    """The last checkpoints of one run, and the best, in one directory.

    Within the `with` block saving is asynchronous: `save` copies the arrays and
    returns, and leaving the block waits for the writing. Outside of it `save` waits. A
    process killed while it writes leaves the checkpoint before it intact. With several
    processes all of them must call every method; Orbax writes each array once. One run
    writes to a directory; others may restore from it meanwhile, which writes nothing.

    Checksums of the files are written with them. A checkpoint that is no longer as it
    was written is never restored: the one before it is, with a warning, and the next
    save renames the damaged one to `STEP.damaged`.

    The state of a `control` is written by name and put back by name: what a controller
    has learnt survives when others are added, taken out or set differently.

    Args:
      directory: Where to keep them; made if it does not exist.
      keep: How many of the last to keep, >= 1; older ones are deleted once a newer is
        complete. With 1 there is none to fall back to.
      best: A metric whose best checkpoint is kept too, or None. It need not be the one
        that a rule of stopping watches. A value that is not finite is never the best;
        of equal ones the last is. It must stay the same in a directory.
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
        self._ocp, self._ranking = ocp, Ranking(best, mode)
        self._saving: int | None = None
        self._broken: list[int] = []
        self._tidy = self._within = False
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
                STATE: ocp.StandardCheckpointHandler(),
                NOTES: ocp.JsonCheckpointHandler(),
                DATA: _iterators.handler(ocp),
            },
        )

    def steps(self) -> list[int]:
        """Returns the steps of all complete checkpoints, the newest last."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """Returns the step of the newest checkpoint, or None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Returns the step of the best checkpoint, or None if none has a finite value.

        Raises:
          ValueError: If no metric was named that could tell.
        """
        if self._ranking.metric is None:
            raise ValueError(
                "Which checkpoint is best is not known: name a metric, "
                "`Checkpoints(..., best=...)`."
            )
        self.wait()
        step = self._manager.best_step()
        rank = self._ranking.rank(None if step is None else self._metrics(step))
        return step if math.isfinite(rank) else None

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
          ValueError: If a leaf is no array or is empty, which Orbax cannot save, if a
            key with a slash gives two control states one path, if
            there is a checkpoint of this step or a later one, if `metrics` is given and
            lacks the one that tells the best (without `metrics` it is not the best), or
            if the directory keeps the best by another one.
        """
        ranks = self._ranking.metrics(metrics)
        control = held(tree)
        told = About(control, dict(notes or {})).as_json()
        tree = without(tree, control)
        check_savable(tree)
        args = self._ocp.args
        items = {STATE: args.StandardSave(tree), NOTES: args.JsonSave(told)}
        if data is not None:
            items[DATA] = args.JsonSave(_iterators.positions(data))
        self.wait()
        if not self._tidy:
            self.tidy()
        with self._writing(step):
            saved = self._manager.save(
                step,
                args=args.Composite(**items),
                metrics=ranks,
                custom_metadata={SEALED: True},
            )
        if not saved:
            self._saving = None
            raise ValueError(
                f"{self.directory} holds a checkpoint of step {self.latest():,} "
                f"already, so step {step:,} cannot be saved."
            )
        if not self._within:
            self.wait()

    def restore(
        self,
        template: Any,
        step: int | Sequence[int] | None = None,
        *,
        renamed: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Returns a saved tree in the structure of `template`, and its notes.

        What is there must have the same shape and dtype. What the checkpoint lacks
        keeps the value it has in the template, what the template lacks is dropped, and
        a controller that is set differently keeps its state. One warning lists all of
        that. The elements of a chain that grew are found though their numbers differ,
        where there is one candidate only.

        Args:
          template: A tree of the structure, shapes and dtypes to expect, such as the
            freshly initialised one. Arrays come back with its sharding.
          step: Which checkpoint, or some to choose from; by default all. Of several it
            is the newest that is not damaged.
          renamed: New names of controllers in `together`, by their names in the
            checkpoint. A single controller, one that is not in `together`, is called
            "": `{"": "stop"}` makes it a part, and `{"stop": ""}` makes a part single.
          data: What was given to `save`, built anew. It is moved, in place, to where it
            was, once everything else is restored. If it is left out and there is
            a position, a warning says so; `{}` is none on purpose.

        Raises:
          FileNotFoundError: If there is no such checkpoint.
          ValueError: If the checkpoint is damaged, and there is no other to choose, if
            a leaf has another shape or dtype, if nothing fits, if a control state that
            was saved packed, by plain Orbax, is of other controllers, if a
            renamed controller is not in the checkpoint, its new name not in the
            template, or two would get one name, if there is no position of `data`, or
            those of another number of processes, or if an iterator does not take its.
        """
        self.wait()
        self._manager.reload()
        wanted = [step] if isinstance(step, int) else step
        known = [s for s in self.steps() if wanted is None or s in wanted]
        found = newest_sound(self.directory, known)
        if found.step is None:
            of = f" of step {step:,}" if isinstance(step, int) else ""
            raise FileNotFoundError(f"{self.directory} holds no checkpoint{of}.")
        self._broken, self._tidy = found.broken, self._tidy and not found.broken
        place = self.directory / str(found.step)
        return restored(self._ocp, place, template, renamed or {}, data)

    def discard(self, *, after: int) -> None:
        """Deletes the checkpoints of later steps, so that these can be saved again."""
        self.wait()
        delete(self.directory, [step for step in self.steps() if step > after])
        self._manager.reload()

    def tidy(self) -> None:
        """Deletes what a killed process left half done, and puts damage aside.

        The first `save` does it too. Whoever only reads leaves a live run alone.

        Raises:
          ValueError: If the directory keeps the best by another metric.
        """
        self._tidy = True
        known = self.steps()
        self._ranking.check(self._metrics(known[-1]) if known else None, self.directory)
        sweep(self.directory)
        if self._broken:
            put_aside(self.directory, self._broken)
            self._manager.reload()
            self._broken = []

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
        self._within = True
        return self

    def __exit__(self, *error: object) -> None:
        self._within = False
        self.close()

    def _metrics(self, step: int) -> dict[str, Any] | None:
        file = self.directory / str(step) / "metrics" / "metrics"
        return json.loads(file.read_text()) if file.exists() else None

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
            unnamed = self.directory / f"{self._saving}{HALF}"
            named = self.directory / str(self._saving)
            seal(unnamed if unnamed.exists() else named)
