"""A thread that takes what a run leaves, so that no step waits for it."""

import atexit
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from optaxctl.host import _database
from optaxctl.host._recorder import Recorder
from optaxctl.host._store import Store

WAKE = 256  # rows after which the thread is woken
PATIENCE = 1.0  # seconds after which it wakes by itself
HELD = 4_000_000  # words that may wait for it, a row counting for ROW more
ROW = 256


class Worker:
    """Hands rows and acts on to a recorder once their step has run.

    Args:
      recorder: What keeps them; only one thread at a time is in it.
      key: Of the run.
    """

    def __init__(self, recorder: Recorder, key: str):
        self.recorder, self._key = recorder, key
        self._queue: deque[Any] = deque()
        self._commands: deque[dict[str, Any]] = deque()
        self._held, self._ended = 0, False
        self.untouched = True  # whether nothing was handed over yet
        self._seen = 0  # the id of the last command
        self._lock, self._wake = threading.Lock(), threading.Event()
        self.drain()
        self._thread = threading.Thread(
            target=self._work, name=f"history of {key}", daemon=True
        )
        self._thread.start()
        atexit.register(self.drain)

    def row(self, item: tuple[float, Any]) -> None:
        """Takes a row with its time; waits only if too many wait already."""
        self.untouched = False
        self._queue.append(item)
        self._held += item[1].words.size + ROW
        if len(self._queue) >= WAKE:
            self._wake.set()
            if self._held > HELD:
                self.drain()

    def act(self, act: Callable[[Recorder], Any]) -> None:
        """Takes what to do with the recorder after the rows so far."""
        self.untouched = False
        self._queue.append(act)

    def commands(self) -> list[dict[str, Any]]:
        """Returns the commands that were found since the last call."""
        return [self._commands.popleft() for _ in range(len(self._commands))]

    def abandon(self) -> None:
        """Ends the thread, and takes the run out of the database."""
        self.end()
        with contextlib.suppress(sqlite3.Error, OSError, ValueError):
            db = self.recorder.store.connection()
            _database.delete(db, [_database.number(db, self._key)])
        self.recorder.close()

    def end(self) -> None:
        """Keeps everything, and ends the thread."""
        self._ended = True
        self._wake.set()
        self._thread.join()
        self.drain()
        self.recorder.close()
        atexit.unregister(self.drain)

    def drain(self, *, ready: bool = False) -> bool:
        """Takes what is in the queue, or with `ready` what need not be waited for.

        Returns whether everything so far is in a file.
        """
        with self._lock:
            count = len(self._queue)
            while ready and count and not _is_ready(self._queue[count - 1]):
                count -= 1
            items = [self._queue.popleft() for _ in range(count)]
            self._held = 0
            try:
                kept = self.recorder.take(items, now=not ready)
                self._look(self.recorder.store)
            except Exception as error:  # the training goes on, whatever it is
                self.recorder.complain(f"The history lost something: {error!r}")
                return False
        return kept

    def _work(self) -> None:
        while not self._ended:
            self._wake.wait(PATIENCE)
            self._wake.clear()
            self.drain(ready=True)

    def _look(self, store: Store) -> None:
        """Looks for commands, where there is a database."""
        try:
            found = _database.commands(store.opened, self._key) if store.opened else []
        except sqlite3.Error:
            return store.doubt()
        for command in found:
            if command["id"] > self._seen and command["acknowledged_step"] is None:
                self._commands.append(command)
                self._seen = command["id"]


def _is_ready(item: Any) -> bool:
    return not isinstance(item, tuple) or item[1].words.is_ready()
