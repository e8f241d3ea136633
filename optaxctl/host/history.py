"""Record a run as it goes, every step of it, without waiting for any."""

import atexit
import sqlite3
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import jax

from optaxctl._core.types import Mode
from optaxctl.host import _database
from optaxctl.host._opening import opened
from optaxctl.host._recorded import LEVELS, Level, one_of
from optaxctl.host._recorder import Recorder, Sink
from optaxctl.host._sinks import jsonl as jsonl, tensorboard as tensorboard
from optaxctl.host._store import Store
from optaxctl.host.interrupt import Interrupted
from optaxctl.views._row import Row

Ending = Literal["stopped", "finished", "failed", "interrupted"]

WAKE = 256  # rows after which the thread is woken
PATIENCE = 1.0  # seconds after which it wakes by itself
HELD = 4_000_000  # words that may wait for it, a row counting for ROW more
ROW = 256


class History:
    """Records a run in the database of a project: steps, events, evaluations, config.

    Rows are handed over as they come out of a step, before it has run. A thread fetches
    them when they are there, once a second or every 256, finds the events, and writes;
    a step waits only if 13,000 rows wait already. `flush` writes the rest; what is
    written stays if the process is killed.

    If the database cannot be written, since it is locked, damaged or read-only, or the
    disk is full, there is one warning, and the history goes to `KEY.spill.jsonl`
    beside it, or where that is impossible to the system's temporary directory or, for
    200,000 steps, to memory. It is merged into the database when that can be written,
    by this run or by the next one that is opened in the directory. The database is
    SQLite in WAL mode, for several processes on one machine; it is not made for network
    file systems; a `jsonl` sink is.

    Used as a context, it ends the run: "failed" or "interrupted" after an exception,
    "stopped" if a controller asked to, or "finished". Of several JAX processes the
    first records and the others do nothing.

    Args:
      directory: Of the project; it is created if need be.
      name: For people.
      config: What the run was configured with, such as the content of a YAML file.
      resume: The key of a run to go on with. What it recorded from the step on that
        comes first now is deleted, so no step is lost or doubled.
      sinks: Functions that are called, in the thread, with a list of dicts. Each has a
        `record`, one of "run", "step", "event", "evaluation" and "end"; a step has its
        columns by name, and an evaluation its metrics.
      modes: Metrics of which higher values are better, `{"val_accuracy": "max"}`, for
        the best value in the summary.

    Raises:
      UnknownRun: If there is no run `resume`.

    Example:
      >>> import jax, jax.numpy as jnp, optax, tempfile, optaxctl as octl
      >>> tx = octl.control(octl.inject(optax.sgd, learning_rate=0.1), octl.guard())
      >>> @jax.jit
      ... def step(w, state):
      ...     w, state = octl.apply_gradients(tx, 2 * w, state, w, value=w**2)
      ...     return w, state, octl.row(state)
      >>> w, state = jnp.array(3.0), tx.init(jnp.array(3.0))
      >>> with octl.history.History(tempfile.mkdtemp()) as history:
      ...     for _ in range(100):
      ...         w, state, row = step(w, state)
      ...         history.write(row)
      >>> run = octl.runs.Project(history.directory).run()
      >>> run.step, run.status, len(run.series("loss")[0])
      (100, 'finished', 100)
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        name: str = "run",
        config: Mapping[str, Any] | None = None,
        resume: str | None = None,
        sinks: Iterable[Sink] = (),
        modes: Mapping[str, Mode] | None = None,
    ):
        self.directory = Path(directory).absolute()
        self.key = resume or ""
        self._recorder: Recorder | None = None
        self._commands: deque[dict[str, Any]] = deque()
        if jax.process_index() != 0:
            return
        self._far = jax.default_backend() != "cpu"
        self._queue: deque[Any] = deque()
        self._held, self._ended = 0, False
        self._seen = 0  # the id of the last command
        self._lock, self._wake = threading.Lock(), threading.Event()
        run = opened(self.directory, name, config, resume)
        self.key = run["key"]
        store = Store(self.directory, run)
        again = resume is not None
        self._recorder = Recorder(store, modes or {}, tuple(sinks), resumed=again)
        self.flush()
        self._thread = threading.Thread(
            target=self._work, name=f"history of {self.key}", daemon=True
        )
        self._thread.start()
        atexit.register(self.flush)

    def write(self, row: Row) -> None:
        """Records a step, or the steps that a `lax.scan` has stacked; does not wait.

        Args:
          row: What `octl.row` returned in the step.
        """
        if self._recorder is None:
            return
        if self._far:
            row.words.copy_to_host_async()
        self._queue.append((time.time(), row))
        self._held += row.words.size + ROW
        if len(self._queue) >= WAKE:
            self._wake.set()
            if self._held > HELD:
                self.flush()
        self._warn()

    def evaluated(self, step: int, **metrics: Any) -> None:
        """Records an evaluation after a step; arrays are fetched later."""
        at = time.time()
        self._later(lambda r: r.evaluated(int(step), at, metrics))

    def epoch(self, number: int, seconds: float) -> None:
        """Records how long an epoch took, counted from 1."""
        self._later(lambda r: r.epoch(int(number), float(seconds)))

    def event(
        self,
        step: int,
        kind: str,
        *,
        actor: str = "user",
        severity: Level = "info",
        old: float | None = None,
        new: float | None = None,
        reason: str = "",
        evidence: Mapping[str, Any] | None = None,
        outcome: str = "",
    ) -> None:
        """Records that something happened, beside what is found in the rows.

        Args:
          step: When.
          kind: What, in a word.
          actor: Who.
          severity: "info", "warning", "critical" or "emergency".
          old: The value before, if any.
          new: The value after, if any.
          reason: Why, in a sentence.
          evidence: What it was decided on, by name.
          outcome: What came of it, in a sentence.

        Raises:
          ValueError: If there is no such severity.
        """
        one_of("History.event", "severity", severity, LEVELS)
        event = {
            "step": int(step),
            "time": time.time(),
            "actor": str(actor),
            "kind": str(kind),
            "severity": severity,
            "old": None if old is None else float(old),
            "new": None if new is None else float(new),
            "reason": str(reason),
            "evidence": dict(evidence or {}),
            "outcome": str(outcome),
        }
        self._later(lambda r: r.event(event))

    def commands(self) -> list[dict[str, Any]]:
        """Returns the commands that the thread has found since the last call.

        Each has an `id` and `what`, as `{"lr_scale": 0.5}`. It looks once a second.
        """
        return [self._commands.popleft() for _ in range(len(self._commands))]

    def acknowledge(self, command: int, step: int, outcome: str) -> None:
        """Notes what became of a command, and at which step."""
        self._later(
            lambda r: _database.acknowledge(
                r.store.connection(), command, int(step), outcome
            )
        )

    def flush(self) -> bool:
        """Writes everything so far, and waits for it and for the steps that it is of.

        Call it where a checkpoint is saved, so that a run that goes on misses no step.

        Returns:
          Whether everything is in a file now.
        """
        if self._recorder is None:
            return True
        kept = self._drain()
        self._warn()
        return kept

    def ended(self, status: Ending, reason: str = "") -> None:
        """Ends the run and closes the history; nothing can be written after it.

        Args:
          status: "stopped" (a controller asked), "finished", "failed", "interrupted".
          reason: Why, in a sentence.

        Raises:
          ValueError: If there is no such status.
        """
        one_of("History.ended", "status", status, get_args(Ending))
        if self._recorder is None or self._ended:
            return
        self._later(lambda r: r.end(status, reason))
        self._ended = True
        self._wake.set()
        self._thread.join()
        self.flush()
        self._recorder.close()
        self._warn()
        atexit.unregister(self.flush)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self._recorder is None or self._ended:
            return
        self.flush()
        if kind is None:
            why = self._recorder.stop
            self.ended("stopped" if why else "finished", why)
        elif issubclass(kind, (KeyboardInterrupt, Interrupted)):
            self.ended("interrupted", str(error))
        else:
            self.ended("failed", f"{kind.__name__}: {error}")

    def _later(self, act: Callable[[Recorder], Any]) -> None:
        if self._recorder is not None:
            self._queue.append(act)

    def _work(self) -> None:
        while not self._ended:
            self._wake.wait(PATIENCE)
            self._wake.clear()
            self._drain(ready=True)

    def _drain(self, *, ready: bool = False) -> bool:
        """Takes what is in the queue, or with `ready` what need not be waited for."""
        recorder = self._recorder
        assert recorder is not None
        with self._lock:
            count = len(self._queue)
            while ready and count and not _is_ready(self._queue[count - 1]):
                count -= 1
            items = [self._queue.popleft() for _ in range(count)]
            self._held = 0
            try:
                kept = recorder.take(items, now=not ready)
                self._look(recorder.store)
            except Exception as error:  # the training goes on, whatever it is
                recorder.complain(f"The history lost something: {error!r}")
                return False
        return kept

    def _look(self, store: Store) -> None:
        """Looks for commands, where there is a database."""
        try:
            found = _database.commands(store.opened, self.key) if store.opened else []
        except sqlite3.Error:
            return store.doubt()
        for command in found:
            if command["id"] > self._seen and command["acknowledged_step"] is None:
                self._commands.append(command)
                self._seen = command["id"]

    def _warn(self) -> None:
        while self._recorder and self._recorder.troubles:
            warnings.warn(self._recorder.troubles.pop(0), stacklevel=3)


def _is_ready(item: Any) -> bool:
    return not isinstance(item, tuple) or item[1].words.is_ready()
