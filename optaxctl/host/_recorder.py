"""Turns what a run hands over into steps, events and totals, and keeps them."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from optaxctl._core.types import Mode
from optaxctl.host import _database
from optaxctl.host._arrived import LostRow, fetched
from optaxctl.host._database import Batch
from optaxctl.host._events import Event
from optaxctl.host._outlets import Outlets, Sink as Sink
from optaxctl.host._reread import reread
from optaxctl.host._ring import Ring
from optaxctl.host._store import Store
from optaxctl.host._table import Columns, Table, prefixes
from optaxctl.host._totals import Totals
from optaxctl.host._transitions import Transitions
from optaxctl.views._ring import Rows
from optaxctl.views._row import Row

HIGHEST = 2**63 - 1  # what the database can hold
UNANSWERED = "Not taken up: the run had ended."


class Recorder:
    """What the background thread does; nothing here waits for a step but `take`.

    Args:
      store: Where to keep it.
      modes: Whether lower or higher values of a metric are better.
      sinks: Called with what is new, as dicts.
      resumed: Whether there are steps of a former process.
    """

    def __init__(
        self,
        store: Store,
        modes: Mapping[str, Mode],
        sinks: Sequence[Sink],
        *,
        resumed: bool,
    ):
        self.store, self._outlets = store, Outlets(sinks)
        self.troubles: list[str] = []
        self.stop = ""  # why a controller asked to stop
        self._columns = Columns(store.run["columns"])
        self._totals = Totals(modes, store.run["summary"])
        self._transitions: dict[str, Transitions] = {}
        self._resumed = resumed
        self._step: int | None = None
        self._ring, self._late = Ring(), False
        self._doubted = False
        self._complaints: set[str] = set()
        self._clear()
        self._run = {"status": store.run["status"]}  # so that the run is there at once
        if resumed:  # what was asked of the former process
            self._leave_unanswered()
        names = ("key", "name", "started", "config", "environment")
        self._outlets.add("run", **{name: store.run[name] for name in names})

    def take(self, items: Iterable[Any], *, now: bool = False) -> bool:
        """Takes rows, each with its time, and functions of this; keeps what they say.

        Returns whether all of it, and of what came before, is in a file.
        """
        for is_row, group in itertools.groupby(items, lambda x: isinstance(x, tuple)):
            if is_row:
                self._rows(list(group))
            else:
                for act in group:
                    self._do(act)
        return self.flush(now=now)

    def complain(self, trouble: str) -> None:
        """Keeps what went wrong, for a warning; the same is told once."""
        if trouble not in self._complaints:
            self._complaints.add(trouble)
            self.troubles.append(trouble)

    def evaluated(self, step: int, at: float, metrics: Mapping[str, Any]) -> None:
        """Takes an evaluation; this waits for its values.

        Raises:
          OverflowError: If the database could not hold the step.
        """
        step = _step(step)
        values = {name: float(value) for name, value in metrics.items()}
        for name, value in values.items():
            self._evaluations.append((step, at, name, value))
            self._totals.evaluated(step, name, value)
        self._outlets.evaluation(step, at, values)

    def event(self, event: Event) -> None:
        """Takes an event.

        Raises:
          OverflowError: If the database could not hold the step.
        """
        _step(event["step"])
        self._events.append(event)
        self._totals.happened([event["severity"]])
        self._outlets.events([event])

    def epoch(self, number: int, seconds: float) -> None:
        """Takes the duration of an epoch."""
        self._totals.epoch(number, seconds)
        self._run["summary"] = self._totals.summary

    def answer(self, command: int, step: int, outcome: str) -> None:
        """Notes what became of a command, and at which step.

        Raises:
          OverflowError: If the database could not hold the step.
        """
        self._answers.append((int(command), time.time(), _step(step), str(outcome)))

    def end(self, status: str, reason: str) -> None:
        """Ends the run."""
        for transitions in self._transitions.values():
            self._ended(transitions.close())
        now = time.time()
        self._run |= {"status": status, "reason": reason, "ended": now}
        self._leave_unanswered()
        self._outlets.add("end", time=now, status=status, reason=reason)

    def flush(self, *, now: bool = False) -> bool:
        """Keeps what is new; returns whether everything is in a file."""
        data = (self._steps, self._events, self._evaluations, self._answers)
        batch = None
        # What is idle is not to look alive.
        if self._run or self._back is not None or any(data):
            run = {**self._run, "updated": time.time()}
            run |= {"columns": self._columns.listed(), "summary": self._totals.summary}
            if self._step is not None:
                run["step"] = self._step
            batch = Batch(run, self._back, *data)
        kept = self.store.write(batch, now=now)
        self._clear()
        for trouble in (*self._outlets.tell(), *self.store.troubles):
            self.complain(trouble)
        self.store.troubles.clear()
        return kept

    def close(self) -> None:
        """Lets go of the database, and says what could not be kept."""
        self.store.disconnect()
        if self.store.lost:
            self.complain(f"{self.store.lost:,} steps of the history are lost.")
        for trouble in self._outlets.close():
            self.complain(trouble)

    def _leave_unanswered(self) -> None:
        step = self._step or self.store.run["step"] or 0
        self._answers.append((None, time.time(), step, UNANSWERED))

    def _clear(self) -> None:
        self._run: dict[str, Any] = {}
        self._back: int | None = None
        self._steps: list[tuple[int, float, bytes]] = []
        self._events: list[Event] = []
        self._evaluations: list[tuple[int, float, str, float]] = []
        self._answers: list[tuple[int | None, float, int, str]] = []

    def _do(self, act: Callable[["Recorder"], Any]) -> None:
        try:
            act(self)
        except Exception as error:  # the training goes on, whatever it is
            self.complain(f"The history lost something: {error!r}")

    def _rows(self, items: list[tuple[float, Row]]) -> None:
        kind = lambda item: (item[1].columns, isinstance(item[1], Rows))
        for (columns, ring), group in itertools.groupby(items, kind):
            found = []
            for at, row in group:
                try:
                    found.append((at, fetched(row)))
                except LostRow as error:
                    self.complain(str(error))
            if not any(len(words) for _, words in found):
                continue
            words = np.concatenate([words for _, words in found])
            times = np.repeat([at for at, _ in found], [len(w) for _, w in found])
            words = self._columns.fitted(columns.names, columns.kinds, words)
            if not self._transitions:
                self._watch(columns.names, columns.calls)
            for table in Table(self._columns.places, words, times).segments():
                if ring:
                    self._ringed(table)
                else:
                    self._segment(table)

    def _watch(self, names: Iterable[str], calls: Mapping[str, str]) -> None:
        for prefix in prefixes(names):
            self._transitions[prefix] = Transitions(calls, prefix)
        if calls:
            self._run["environment"] = {
                **self.store.run["environment"],
                "controllers": dict(calls),
            }

    def _segment(self, table: Table, *, knows_past: bool = False) -> None:
        first, last = table["step"][[0, -1]].tolist()
        again = self._step is not None and first <= self._step
        if self._resumed or again:
            if not knows_past:
                self._doubt(first)
            self._go_back(first - 1)
        self._step, self._resumed = last, False
        for transitions in self._transitions.values():
            begun, ended = transitions.update(table)
            for event in sorted(begun, key=lambda event: event["step"]):
                self.event(event)
                if event["kind"] == "stop":
                    self.stop = event["reason"]
            self._ended(ended)
        self._totals.add(table)
        self._steps += table.rows()
        self._outlets.steps(table)

    def _ended(self, events: Sequence[Event]) -> None:
        """Takes events that are known, and have their outcome now."""
        self._events += events
        self._outlets.events(events)

    def _doubt(self, first: int) -> None:
        """Warns of what looks like another training than the one so far."""
        if self._resumed and first == 1 and (last := self.store.run["step"]):
            self.complain(
                f"Step 1 is recorded in a run that has come to step {last:,}, and "
                "replaces what was recorded. To go on with a run restore its "
                "checkpoint; give another training a `History` of its own."
            )
        elif not self._resumed and not self._doubted:
            self._doubted = True
            self.complain(
                f"Step {first:,} came after step {self._step:,}; what was recorded "
                f"from step {first:,} on is replaced. Give each training a `History` "
                "of its own."
            )

    def _ringed(self, table: Table) -> None:
        """Takes what is new of the rows that a control state keeps."""
        last = (self.store.run["step"] if self._resumed else self._step) or 0
        new = self._ring.news(table, last, self._recorded)
        if new.lost and not self._late:
            self._late = True
            self.complain(
                f"{new.lost:,} steps since step {last:,} are not recorded: `octl.rows` "
                "was called too late, and their rows were gone. Call it before "
                "each checkpoint, and at least once in as many steps as "
                "`control(rows=...)` says."
            )
        if len(new.table):
            self._segment(new.table, knows_past=new.after > 0)
        elif new.after < last:  # it went back, and was the same again so far
            self._go_back(new.after)
            self._step, self._resumed = new.after, False

    def _recorded(self, first: int) -> dict[int, bytes]:
        """Returns the rows that are recorded from a step on."""
        self.flush(now=True)
        try:
            db = self.store.connection()
            rows = _database.rows(db, _database.number(db, self.store.run["key"]))
            return {step: words for step, _, words in rows if step >= first}
        except Exception as error:  # then they are recorded once more
            self.complain(f"The history could not be read: {error}")
            return {}

    def _go_back(self, to: int) -> None:
        """Forgets what was recorded after a step: it comes once more."""
        self.flush(now=True)
        self._back = to
        self._outlets.add("back", step=to)
        try:
            db, key = self.store.connection(), self.store.run["key"]
            known = (self._columns, self._totals, self._transitions)
            past = reread(db, key, to, *known)
        except Exception as error:  # totals that count a step twice do no harm
            self.complain(f"The totals of the history are not exact: {error}")
            return
        self._totals, self._transitions = past.totals, past.transitions
        self._events += past.events
        self.store.sure("summary")


def _step(step: int) -> int:
    if not -HIGHEST <= step <= HIGHEST:
        raise OverflowError(f"{step} is no step.")
    return step
