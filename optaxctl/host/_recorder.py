"""Turns what a run hands over into steps, events and totals, and keeps them."""

import itertools
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from optaxctl._core.types import Mode
from optaxctl.host import _database
from optaxctl.host._database import Batch
from optaxctl.host._events import Event
from optaxctl.host._ring import Ring
from optaxctl.host._store import Store
from optaxctl.host._table import Columns, Table
from optaxctl.host._totals import Totals
from optaxctl.host._transitions import Transitions
from optaxctl.views._ring import Rows
from optaxctl.views._row import Row

Record = dict[str, Any]
Sink = Callable[[list[Record]], Any]
CHUNK = 10_000  # steps to read at once


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
        self.store, self._modes, self._sinks = store, modes, sinks
        self.troubles: list[str] = []
        self.stop = ""  # why a controller asked to stop
        self._columns = Columns(store.run["columns"])
        self._totals = Totals(modes, store.run["summary"])
        self._transitions: dict[str, Transitions] = {}
        self._resumed = resumed
        self._step: int | None = None
        self._ring, self._late = Ring(), False
        self._complaints: set[str] = set()
        self._failing: set[int] = set()
        self._clear()
        names = ("key", "name", "started", "config", "environment")
        run = {name: store.run[name] for name in names}
        self._tell_sinks([{"record": "run", **run}])

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
        """Takes an evaluation; this waits for its values."""
        values = {name: float(value) for name, value in metrics.items()}
        for name, value in values.items():
            self._evaluations.append((step, at, name, value))
            self._totals.evaluated(step, name, value)
        known = {n: v for n, v in values.items() if v == v}
        self._new(record="evaluation", step=step, time=at, **known)

    def event(self, event: Event) -> None:
        """Takes an event."""
        self._events.append(event)
        self._totals.happened([event["severity"]])
        self._new(record="event", **event)

    def epoch(self, number: int, seconds: float) -> None:
        """Takes the duration of an epoch."""
        self._totals.epoch(number, seconds)

    def end(self, status: str, reason: str) -> None:
        """Ends the run."""
        for transitions in self._transitions.values():
            self._events += transitions.close()
        now = time.time()
        self._run |= {"status": status, "reason": reason, "ended": now}
        self._new(record="end", time=now, status=status, reason=reason)

    def flush(self, *, now: bool = False) -> bool:
        """Keeps what is new; returns whether everything is in a file."""
        run = {**self._run, "updated": time.time(), "columns": self._columns.listed()}
        run |= {"summary": self._totals.summary}
        if self._step is not None:
            run["step"] = self._step
        data = (self._back, self._steps, self._events, self._evaluations)
        records = self._records
        kept = self.store.write(Batch(run, *data), now=now)
        self._clear()
        self._tell_sinks(records)
        if self.store.trouble:
            self.complain(self.store.trouble)
        return kept

    def close(self) -> None:
        """Lets go of the database, and says what could not be kept."""
        self.store.disconnect()
        if self.store.lost:
            self.complain(f"{self.store.lost:,} steps of the history are lost.")

    def _clear(self) -> None:
        self._run: dict[str, Any] = {}
        self._back: int | None = None
        self._steps: list[tuple[int, float, bytes]] = []
        self._events: list[Event] = []
        self._evaluations: list[tuple[int, float, str, float]] = []
        self._records: list[Record] = []

    def _do(self, act: Callable[["Recorder"], Any]) -> None:
        try:
            act(self)
        except Exception as error:  # the training goes on, whatever it is
            self.complain(f"The history lost something: {error!r}")

    def _rows(self, items: list[tuple[float, Row]]) -> None:
        kind = lambda item: (item[1].columns, isinstance(item[1], Rows))
        for (columns, ring), group in itertools.groupby(items, kind):
            found = [(at, self._fetched(row)) for at, row in group]
            found = [(at, words) for at, words in found if len(words)]
            if not found:
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

    def _fetched(self, row: Row) -> np.ndarray:
        """Waits for a row, or for several that a scan has stacked."""
        try:
            words = np.asarray(row.words)
        except RuntimeError as error:  # the step failed; it says so where it is called
            self.complain(f"A row of the history was lost: {error}")
            return np.empty((0, 0), np.int32)
        if words.ndim == 1:
            return words[None]
        words = words.reshape(-1, words.shape[-1])
        step = row.columns.names.index("step")
        if isinstance(row, Rows):  # some are not there yet
            words = words[words[:, step] > 0]
        steps = words[:, step]
        if (np.diff(steps) <= 0).any():
            self.complain(
                "A row that holds several steps holds one of them twice, so it was not "
                "recorded. Under `vmap` every lane needs a `History` of its own."
            )
            return words[:0]
        return words

    def _watch(self, names: Iterable[str], calls: Mapping[str, str]) -> None:
        for name in names:
            if name == "stop" or re.fullmatch(r"group/\d+/stop", name):
                prefix = name.removesuffix("stop")
                self._transitions[prefix] = Transitions(calls, prefix)
        if calls:
            self._run["environment"] = {
                **self.store.run["environment"],
                "controllers": dict(calls),
            }

    def _segment(self, table: Table) -> None:
        first, last = table["step"][[0, -1]].tolist()
        if self._resumed or (self._step is not None and first <= self._step):
            self._go_back(first - 1)
        self._step, self._resumed = last, False
        for transitions in self._transitions.values():
            begun, ended = transitions.update(table)
            for event in sorted(begun, key=lambda event: event["step"]):
                self.event(event)
                if event["kind"] == "stop":
                    self.stop = event["reason"]
            self._events += ended
        self._totals.add(table)
        self._steps += table.rows()
        if self._sinks:
            self._records += _as_records(table)

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
            self._segment(new.table)
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
        kept = {n: self._totals.summary[n] for n in ("seconds", "epochs")}
        totals, told = Totals(self._modes), []
        transitions = {name: t.anew() for name, t in self._transitions.items()}
        try:
            db = self.store.connection()
            run = _database.number(db, self.store.run["key"])
            rows = (row for row in _database.rows(db, run) if row[0] <= to)
            while chunk := list(itertools.islice(rows, CHUNK)):
                table = self._columns.table(chunk)
                totals.add(table)
                # What lasts goes on, and the next step has one to differ from.
                for each in transitions.values():
                    begun, ended = each.update(table)
                    told += begun + ended
            for name, step, _, value in _database.evaluations(db, run):
                if step <= to:
                    totals.evaluated(step, name, value)
            events = _database.events(db, run, after=0)
            totals.happened(e["severity"] for e in events if e["step"] <= to)
        except Exception as error:  # totals that count a step twice do no harm
            self.complain(f"The totals of the history are not exact: {error}")
            return
        totals.summary |= kept
        totals.paused()
        self._totals, self._transitions = totals, transitions
        self._events += told  # of which all but the outcomes are known

    def _new(self, **record: Any) -> None:
        if self._sinks:
            self._records.append(record)

    def _tell_sinks(self, records: list[Record]) -> None:
        for i, sink in enumerate(self._sinks if records else ()):
            try:
                sink(records)
            except Exception as error:  # whatever it is, the training goes on
                if i not in self._failing:
                    self.complain(f"A sink of the history failed: {error!r}")
                self._failing.add(i)


def _as_records(table: Table) -> list[Record]:
    values = {name: table[name].tolist() for name in table.columns if name != "step"}
    names = list(values)
    return [
        {
            "record": "step",
            "step": step,
            "time": at,
            # What was not measured is left out.
            **{n: v for n, v in zip(names, row, strict=True) if v == v},
        }
        for step, at, *row in zip(
            table["step"].tolist(), table.times.tolist(), *values.values(), strict=True
        )
    ]
