"""Record a run as it goes, every step of it, without waiting for any."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import jax

from optaxctl._core.types import Mode
from optaxctl.host._described import described, event
from optaxctl.host._opening import opened
from optaxctl.host._recorded import Level, one_of
from optaxctl.host._recorder import Recorder, Sink
from optaxctl.host._shared import shared
from optaxctl.host._sinks import jsonl as jsonl, tensorboard as tensorboard
from optaxctl.host._store import Store
from optaxctl.host._worker import Worker
from optaxctl.host.interrupt import Interrupted
from optaxctl.views._row import Row
from optaxctl.views._signals import COMPUTED, TOLD

_OWN = COMPUTED | TOLD | {"loss"}  # columns that every row has
Ending = Literal["stopped", "finished", "failed", "interrupted"]


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

    The run begins in the database with the first thing that is recorded. Used as a
    context, the history ends it: "failed" or "interrupted" after an exception, as
    `ending` says, "stopped" if a controller asked to, or "finished". Of several JAX
    processes the first records and the others do nothing.

    Args:
      directory: Of the project; it is created if need be.
      name: For people.
      config: What the run was configured with, such as the content of a YAML file.
      resume: The key of a run to go on with. What it recorded from the step on that
        comes first now is deleted, so no step is lost or doubled.
      sinks: Functions that are called, in the thread, with a list of dicts. Each has a
        `record`, one of "run", "step", "event", "evaluation", "back" (to a step) and
        "end"; a step has its columns by name, and an evaluation its metrics.
      modes: Metrics of which higher values are better, `{"val_accuracy": "max"}`, for
        the best value in the summary.

    Raises:
      UnknownRun: If there is no run `resume`.
      TypeError: If a sink is no function, or `config` no mapping.
      ValueError: If a mode is neither "min" nor "max".

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
        self._about = described(name, config, sinks, modes)
        self._key, self._begun, self._closed = "", False, False
        self._worker: Worker | None = None  # in a process that records, once begun
        self._ending: tuple[Ending, str] | None = None
        if resume is not None:
            self._begin(resume)

    @property
    def key(self) -> str:
        """Of the run; empty in a process that does not record."""
        if not self._begun:
            self._begin(None)
        return self._key

    def go_on(self, key: str) -> None:
        """Goes on with an earlier run, as with `resume`, if nothing is recorded yet.

        For a loop, which learns from a checkpoint which run it is of.

        Raises:
          UnknownRun: If there is no such run.
          ValueError: If this history is of another already.
        """
        if self._key not in ("", key) and self._worker and self._worker.untouched:
            self._worker.abandon()
            self._begun = False
        if not self._begun:
            self._begin(key)
        elif self._key not in ("", key):
            raise ValueError(
                f"The history records {self._key} already, so it cannot go on with "
                f"{key}. Leave `resume` out, or give `resume={key!r}`."
            )

    def write(self, row: Row) -> None:
        """Records a step, or the steps that a `lax.scan` has stacked; does not wait.

        Args:
          row: What `octl.row` returned in the step, or `octl.rows` between steps.

        Raises:
          TypeError: If it is something else.
          ValueError: If the history has ended.
        """
        if not isinstance(row, Row):
            raise TypeError(
                "`History.write` takes what `octl.row(opt_state)` returns, got "
                f"{type(row).__name__}."
            )
        if (worker := self._working()) is None:
            return
        if self._far:
            row.words.copy_to_host_async()
        worker.row((time.time(), row))
        self._warn()

    def evaluated(self, step: int, /, **metrics: Any) -> None:
        """Records an evaluation after a step; arrays are fetched later.

        A metric with the name of a column of every row is recorded as `eval/loss`.
        """
        at = time.time()
        named = {f"eval/{n}" if n in _OWN else n: x for n, x in metrics.items()}
        self._later(lambda r: r.evaluated(int(step), at, named))

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
        told = event(step, kind, actor, severity, old, new, reason, evidence, outcome)
        self._later(lambda r: r.event(told))

    def commands(self) -> list[dict[str, Any]]:
        """Returns the commands that were left for the run since the last call.

        Each has an `id` and `what`, as `{"lr_scale": 0.5}`; they are looked for once a
        second. Every JAX process gets the same, so all must call this at the same step.
        """
        worker = self._working()
        found = worker.commands() if worker else []
        return shared(found)

    def acknowledge(self, command: int, step: int, outcome: str) -> None:
        """Notes what became of a command, and at which step."""
        self._later(lambda r: r.answer(command, int(step), outcome))

    def flush(self) -> bool:
        """Writes everything so far, and waits for it and for the steps that it is of.

        Call it where a checkpoint is saved, so that a run that goes on misses no step.

        Returns:
          Whether everything is in a file now.
        """
        if self._closed or (worker := self._working()) is None:
            return True
        kept = worker.drain()
        self._warn()
        return kept

    def ending(self, status: Ending, reason: str = "") -> None:
        """Notes how the run ends, for when the context is left without an exception.

        Args:
          status: As for `ended`.
          reason: Why, in a sentence.
        """
        one_of("History.ending", "status", status, get_args(Ending))
        self._ending = status, reason

    def ended(self, status: Ending, reason: str = "") -> None:
        """Ends the run and closes the history; nothing can be written after it.

        Args:
          status: "stopped" (a controller asked), "finished", "failed", "interrupted".
          reason: Why, in a sentence.

        Raises:
          ValueError: If there is no such status.
        """
        one_of("History.ended", "status", status, get_args(Ending))
        if self._closed or (worker := self._working()) is None:
            return
        self._closed = True
        worker.act(lambda r: r.end(status, reason))
        worker.end()
        self._warn()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if self._closed or (worker := self._working()) is None:
            return
        self.flush()
        if kind is None or (kind is SystemExit and not error.code):
            why = worker.recorder.stop
            self.ended(*(self._ending or ("stopped" if why else "finished", why)))
        elif issubclass(kind, (KeyboardInterrupt, Interrupted)):
            self.ended("interrupted", str(error))
        else:
            self.ended("failed", f"{kind.__name__}: {error}")

    def _later(self, act: Callable[[Recorder], Any]) -> None:
        if worker := self._working():
            worker.act(act)

    def _working(self) -> Worker | None:
        """Begins the run, if it has not; returns None if another process records."""
        if self._closed:
            raise ValueError(
                f"The history of {self._key} has ended, so it takes nothing more."
            )
        if not self._begun:
            self._begin(None)
        return self._worker

    def _begin(self, resume: str | None) -> None:
        if jax.process_index() != 0:
            self._begun = True
            return
        name, config, sinks, modes = self._about
        self._far = jax.default_backend() != "cpu"
        run, troubles = opened(self.directory, name, config, resume)
        self._key, self._begun = run["key"], True
        store = Store(self.directory, run)
        recorder = Recorder(store, modes, sinks, resumed=resume is not None)
        recorder.troubles += troubles
        self._worker = Worker(recorder, self._key)

    def _warn(self) -> None:
        worker = self._worker
        while worker and worker.recorder.troubles:
            warnings.warn(worker.recorder.troubles.pop(0), stacklevel=3)
