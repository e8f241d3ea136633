"""Writes to the database of a project, or beside it while that is impossible."""

import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optaxctl.host import _database
from optaxctl.host._database import Batch
from optaxctl.host._json import dumped, loaded
from optaxctl.host._recorded import is_alive

SPILL = ".spill.jsonl"
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
        self.trouble: str | None = None  # what to tell the user, once
        self.lost = 0  # steps
        self._told = False
        self._db: sqlite3.Connection | None = None
        self._inode, self._size, self._suspect = 0, 0, False
        self._waiting: list[Batch] = []
        beside = spill_file(directory, run["key"])
        # In this order, and never back: what goes back in steps must stay in order.
        self._spills = [beside, Path(tempfile.gettempdir()) / beside.name]
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
        """The connection, if there is one."""
        return self._db

    def disconnect(self) -> None:
        """Closes the connection."""
        if self._db is not None:
            self._db.close()
        self._db = None

    def doubt(self) -> None:
        """Has the file looked through before it is written again."""
        self._suspect = True

    def write(self, batch: Batch, *, now: bool = False) -> bool:
        """Keeps a batch, and returns whether it and all before it are in a file.

        Args:
          batch: Its `run` may hold only the fields that changed.
          now: Whether to try the database even if it is not time to try again.
        """
        self.run |= batch.run
        self._waiting.append(batch._replace(run=dict(self.run)))
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
        spilt = [batch for path in self._spilt for batch in read_spill(path)]
        _database.write(db, [*spilt, *self._waiting])
        self._waiting.clear()
        for path in self._spilt:
            path.unlink(missing_ok=True)
        self._spilt, self._again, self._pause = [], 0.0, 1.0

    def _failed(self, error: Exception) -> None:
        self._again = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST)
        # A connection that met a damaged or a full file may not see that it is whole.
        self.disconnect()
        if not self._told:
            self.trouble = (
                f"{self.path} cannot be written ({error}). The history goes to "
                f"{self._spills[0]}, or where that is impossible to "
                f"{self._spills[-1].parent}, and into the database as soon as that can "
                "be written, by this run or the next one; the training goes on."
            )
            self._told = True

    def _spilled(self) -> bool:
        for path in list(self._spills):
            if path not in self._spilt:
                self._spilt.append(path)  # half of a line may get there
            try:
                _append(path, self._waiting)
            except OSError:
                if path != self._spills[-1]:
                    self._spills.remove(path)
            else:
                self._waiting.clear()
                return True
        while sum(len(batch.steps) for batch in self._waiting) > MOST:
            self.lost += len(self._waiting.pop(0).steps)
        return False


def spill_file(directory: Path, key: str) -> Path:
    """Returns where a run writes while its database cannot be written."""
    return directory / f"{key}{SPILL}"


def read_spill(path: Path) -> Iterator[Batch]:
    """Yields what was spilled; a line that was cut off is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                told = loaded(line)
                yield Batch(
                    run=told["run"],
                    back=told["back"],
                    steps=[(s, t, bytes.fromhex(row)) for s, t, row in told["steps"]],
                    events=told["events"],
                    evaluations=[tuple(row) for row in told["evaluations"]],
                )
            except (ValueError, KeyError, TypeError):
                continue


def merge_spilled(db: sqlite3.Connection, paths: Iterable[Path], key: str) -> None:
    """Merges what a run, or those whose process is gone, have spilled, and deletes it.

    Raises:
      OSError: If a file cannot be read or deleted.
      sqlite3.Error: If the database cannot be written.
    """
    for path in paths:
        batches = list(read_spill(path))
        told = batches[-1].run if batches else {}
        if told.get("key") == key or not is_alive(told.get("environment") or {}):
            _database.write(db, batches)
            path.unlink(missing_ok=True)


def identity() -> dict[str, Any]:
    """Returns what tells whether the process is still there."""
    return {"pid": os.getpid(), "host": platform.node()}


def _append(path: Path, batches: list[Batch]) -> None:
    lines = []
    for batch in batches:
        told = batch._asdict()
        told["steps"] = [(s, t, row.hex()) for s, t, row in batch.steps]
        lines.append(dumped(told))
    # The first end of line is for a line that was cut off, as by a full disk.
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(lines) + "\n")


def _seen(path: Path) -> tuple[int, int]:
    """Returns which file there is, and its size in bytes."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_size
