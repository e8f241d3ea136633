"""Recorded runs: which there are, how they stand, and what was recorded of them.

This reads the database of a project and needs neither jax nor numpy, so it starts at
once, and a run that is under way is not disturbed.
"""

from pathlib import Path
from typing import Any

from optaxctl._core.closest import did_you_mean
from optaxctl.host import _database
from optaxctl.host._recorded import (
    STATUSES,
    Event as Event,
    Run as Run,
    Status,
    is_alive,
    one_of,
)
from optaxctl.host._summary import merit

_SPECIAL = ("@latest", "@best")


class UnknownRun(LookupError):
    """There is no such run; the message says which there are."""


class Project:
    """The runs that were recorded in a directory.

    Args:
      directory: What `History` was given.

    Raises:
      FileNotFoundError: If nothing was ever recorded there.

    Example:
      >>> import tempfile, optaxctl as octl
      >>> with octl.history.History(tempfile.mkdtemp(), name="digits") as history:
      ...     history.evaluated(100, val_loss=0.5)
      >>> run = octl.runs.Project(history.directory).run("@latest")
      >>> run.name, run.status
      ('digits', 'finished')
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        self.path = self.directory / _database.FILE
        if not self.path.is_file():
            raise FileNotFoundError(
                f"There is no {self.path}, so nothing was recorded in this directory. "
                "`octl.history.History` records."
            )

    def runs(self, status: Status | None = None) -> list[Run]:
        """Returns the runs, the newest first; with `status` only those.

        Raises:
          ValueError: If there is no such status.
        """
        if status is not None:
            one_of("Project.runs", "status", status, STATUSES)
        with _database.reading(self.path) as db:
            found = [self._run(fields) for fields in _database.runs(db)]
        return [run for run in found if status in (None, run.status)]

    def run(self, key: str = "@latest") -> Run:
        """Returns one run: by its key, the beginning of it, "@latest" or "@best".

        The best is, of the runs that have finished or that a controller stopped, the
        one with the best value of the metric that stands first in its summary: a
        validation loss, else another validation metric, else a loss.

        Raises:
          UnknownRun: A `LookupError`, if there is none, or several begin so.
        """
        found = self.runs()
        if key == "@latest" and found:
            return found[0]
        if key == "@best" and found:
            return self._best(found)
        exact = [run for run in found if run.key == key]
        matches = exact or [run for run in found if key and run.key.startswith(key)]
        if len(matches) == 1:
            return matches[0]
        keys = [run.key for run in matches or found]
        listed = ", ".join(keys[:10]) + (", ..." if len(keys) > 10 else "")
        if matches:
            raise UnknownRun(f"{len(keys)} runs begin with {key!r}: {listed}.")
        if not found:
            raise UnknownRun(
                f"There is no run {key!r}: nothing has been recorded in "
                f"{self.directory} yet."
            )
        hint = did_you_mean(key, [*keys, *_SPECIAL])
        raise UnknownRun(
            f"There is no run {key!r} in {self.directory}.{hint} "
            f"There are, the newest first: {listed}."
        )

    def delete(self, *keys: str) -> None:
        """Deletes runs with all that is recorded of them, and frees the space.

        Raises:
          UnknownRun: If there is no such run.
          ValueError: If one is still running.
        """
        self._delete([self.run(key) for key in keys])

    def keep(self, last: int) -> list[str]:
        """Deletes all but the `last` newest runs, and those that are still running.

        Returns the keys of the deleted ones.

        Raises:
          ValueError: If `last` is negative.
        """
        if last < 0:
            raise ValueError(f"`Project.keep(last=...)` must be >= 0, got {last}.")
        gone = [run for run in self.runs()[last:] if run.status != "running"]
        self._delete(gone)
        return [run.key for run in gone]

    def _best(self, found: list[Run]) -> Run:
        ended = [run for run in found if run.status in ("finished", "stopped")]
        if measured := [run for run in ended if run.summary.get("best")]:
            return min(measured, key=lambda run: merit(run.summary))
        raise UnknownRun(
            f"No run in {self.directory} has finished with a metric, so none is the "
            "best. `@latest` is the one that started last."
        )

    def _delete(self, gone: list[Run]) -> None:
        for run in gone:
            if run.status == "running":
                raise ValueError(
                    f"{run.key} is still running, so it cannot be deleted. Stop it "
                    "first."
                )
        db = _database.connect(self.path)
        try:
            _database.delete(db, [run.id for run in gone])
            _database.vacuum(db)
        finally:
            db.close()

    def _run(self, fields: dict[str, Any]) -> Run:
        gone = fields["status"] == "running" and not is_alive(fields["environment"])
        known = {
            **fields,
            "status": "lost" if gone else fields["status"],
            "updated": fields["updated"] or fields["started"],
            "step": fields["step"] or 0,
            "reason": fields["reason"] or "",
            "columns": [(name, kind) for name, kind in fields["columns"]],
        }
        return Run(path=self.path, **known)
