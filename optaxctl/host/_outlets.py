"""What the sinks of a history are told."""

from collections.abc import Callable, Sequence
from typing import Any

from optaxctl.host._events import Event
from optaxctl.host._format import count
from optaxctl.host._table import Table

Record = dict[str, Any]
Sink = Callable[[list[Record]], Any]
RESERVED = ("record", "step", "time")


class Outlets:
    """Collects records, and hands them to every sink; one that fails stops nothing.

    Args:
      sinks: Called with a list of records.
    """

    def __init__(self, sinks: Sequence[Sink]):
        self._sinks = sinks
        self._records: list[Record] = []
        self._lost = [0] * len(sinks)

    def add(self, record: str, /, **told: Any) -> None:
        """Takes a record."""
        if self._sinks:
            self._records.append({"record": record, **told})

    def evaluation(self, step: int, at: float, values: dict[str, float]) -> None:
        """Takes an evaluation; what was not measured is left out."""
        named = {f"eval/{n}" if n in RESERVED else n: v for n, v in values.items()}
        known = {n: v for n, v in named.items() if v == v}
        if self._sinks:
            own = {"record": "evaluation", "step": step, "time": at}
            self._records.append(own | known)

    def events(self, events: Sequence[Event]) -> None:
        """Takes events, those that lasted once more when they have ended."""
        for event in events:
            self.add("event", **event)

    def steps(self, table: Table) -> None:
        """Takes steps; what was not measured is left out."""
        if not self._sinks:
            return
        columns = {name: table[name].tolist() for name in table.columns}
        names = [n for n in columns if n != "step"]
        values = (columns[name] for name in names)
        for step, at, *row in zip(
            columns["step"], table.times.tolist(), *values, strict=True
        ):
            known = {n: v for n, v in zip(names, row, strict=True) if v == v}
            self._records.append({"record": "step", "step": step, "time": at, **known})

    def tell(self) -> list[str]:
        """Hands over what is new; returns which sinks fail for the first time, and how.

        What one of them loses is counted.
        """
        records, self._records = self._records, []
        told = []
        for i, sink in enumerate(self._sinks if records else ()):
            try:
                sink(records)
            except Exception as error:  # whatever it is, the training goes on
                if not self._lost[i]:
                    told.append(f"A sink of the history failed: {error!r}")
                self._lost[i] += len(records)
        return told

    def close(self) -> list[str]:
        """Returns what the sinks have lost, in sentences."""
        return [
            f"A sink of the history failed; {count(lost, 'record')} did not reach it."
            for lost in self._lost
            if lost
        ]
