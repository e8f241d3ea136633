"""Writes to the database of a project, or beside it while that is impossible."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from optaxctl.host import _database, _spill
from optaxctl.host._database import Batch

MOST = 200_000  # steps to hold in memory when nothing at all can be written
LONGEST = 30.0  # seconds between two tries


class Store:
    """Keeps batches of a run where it can: database, spill file, memory.

    A batch that reached a file is acknowledged. What was spilled is merged into the
    database, and its file deleted, as soon as that can be written again.

    Args:
      directory: Of the project.
      run: All fields of the run.
    """

    def __init__(self, directory: Path, run: dict[str, Any]):
        self.directory, self.run = directory, run
        self.troubles: list[str] = []  # what to tell the user
        self.lost = 0  # steps
        self._told = False
        self._db: sqlite3.Connection | None = None
        self._inode, self._size, self._suspect = 0, 0, False
        self._waiting: list[Batch] = []
        # In this order, and never back: what goes back in steps must stay in order.
        self._spills = _spill.places(directory, run["key"])
        self._spilt: list[Path] = []  # those that hold something
        self._again, self._pause = 0.0, 1.0  # when to try again, and for how long not

    @property
    def path(self) -> Path:
        """The database."""
        return self.directory / _database.FILE

    def connection(self) -> sqlite3.Connection:
        """Returns the connection; opens it if there is none, or the file is another.

        Raises:
          OSError: If the directory cannot be made.
          sqlite3.Error: If the database cannot be written.
          ValueError: If a newer release has written it.
        """
        inode, size = _seen(self.path)
        # A file that has shrunk was cut off, or somebody has deleted runs.
        self._suspect |= size < self._size
        if self._suspect or inode != self._inode:
            self.disconnect()
        if self._inode not in (0, inode):
            self._inode = 0
            self.troubles.append(
                f"{self.path} was moved or deleted; what was recorded before is not in "
                "the new one."
            )
        if self._db is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._db = _database.connect(self.path)
            self._inode, _ = _seen(self.path)
        if self._suspect:
            _database.check(self._db)
            self._suspect = False
        self._size = size
        return self._db

    @property
    def opened(self) -> sqlite3.Connection | None:
        """The connection, if there is one, and nothing waits to be written to it."""
        return None if self.behind else self._db

    @property
    def behind(self) -> bool:
        """Whether something is not in the database yet."""
        return bool(self._waiting or self._spilt)

    def sure(self, field: str) -> None:
        """Notes that a field of the run is not presumed any more."""
        presumed = [name for name in self.run.get("presumed", ()) if name != field]
        self.run["presumed"] = presumed

    def disconnect(self) -> None:
        """Closes the connection."""
        if self._db is not None:
            self._db.close()
        self._db = None

    def doubt(self) -> None:
        """Has the file looked through before it is written again."""
        self._suspect = True

    def write(self, batch: Batch | None, *, now: bool = False) -> bool:
        """Keeps a batch, and returns whether it and all before it are in a file.

        Args:
          batch: Its `run` may hold only the fields that changed. If there is none, only
            what is not in the database yet is written.
          now: Whether to try the database even if it is not time to try again.
        """
        if batch is not None:
            self.run |= batch.run
            self._waiting.append(batch._replace(run=dict(self.run)))
        elif not self.behind:
            return True
        if now or time.monotonic() >= self._again:
            try:
                self._merge()
            except (sqlite3.Error, OSError, ValueError) as error:
                self._failed(error)
            else:
                return True
        return self._spilled()

    def _merge(self) -> None:
        db = self.connection()
        spilt = [batch for path in self._spilt for batch in _spill.read(path)[0]]
        unfit = _database.write_fit(db, [*spilt, *self._waiting])
        self._waiting.clear()
        for path in self._spilt:
            path.unlink(missing_ok=True)
        self._spilt, self._again, self._pause = [], 0.0, 1.0
        for batch, error in unfit:
            lines = [_spill.line(batch)]
            aside = _spill.set_aside(self.directory, self.run["key"], lines)
            self.troubles.append(
                f"Something cannot be recorded ({error!r}). It is set aside in {aside} "
                "with what came in the same second."
            )

    def _failed(self, error: Exception) -> None:
        self._again = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST)
        # A connection that met a damaged or a full file may not see that it is whole.
        self.disconnect()
        if not self._told:
            self.troubles.append(
                f"{self.path} cannot be written ({error}). The history goes to "
                f"{self._spills[0]}, or where that is impossible to "
                f"{self._spills[-1].parent}, and into the database as soon as that can "
                "be written, by this run or the next one; the training goes on."
            )
            self._told = True

    def _spilled(self) -> bool:
        if not self._waiting:
            return True
        for path in list(self._spills):
            if path not in self._spilt:
                self._spilt.append(path)  # half of a line may get there
            try:
                _spill.append(path, self._waiting)
            except OSError:
                if path != self._spills[-1]:
                    self._spills.remove(path)
            else:
                self._waiting.clear()
                return True
        while sum(len(batch.steps) for batch in self._waiting) > MOST:
            self.lost += len(self._waiting.pop(0).steps)
        return False


def _seen(path: Path) -> tuple[int, int]:
    """Returns which file there is, and its size in bytes."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_size
