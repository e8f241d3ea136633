"""What a run had come to by a step, from what is recorded of it."""

import itertools
import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from optaxctl.host import _database
from optaxctl.host._events import Event
from optaxctl.host._table import Columns
from optaxctl.host._totals import Totals
from optaxctl.host._transitions import Transitions

CHUNK = 10_000  # steps to read at once
KEPT = ("seconds", "timed", "epochs")  # the time that was spent is not given back


class Past(NamedTuple):
    """What a recorder had after a step.

    Attributes:
      totals: Up to it.
      transitions: What lasts goes on, and the next step has one to differ from.
      events: Those that had begun and ended, of which all but the outcomes are known.
    """

    totals: Totals
    transitions: dict[str, Transitions]
    events: list[Event]


def reread(
    db: sqlite3.Connection,
    key: str,
    to: int,
    columns: Columns,
    totals: Totals,
    transitions: Mapping[str, Transitions],
) -> Past:
    """Returns what a recorder had after the step `to`.

    Raises:
      Exception: Whatever it is, if the database or what is in it cannot be read.
    """
    past = Past(totals.anew(), {n: t.anew() for n, t in transitions.items()}, [])
    run = _database.number(db, key)
    recorded = Columns(_database.columns(db, run))
    columns = Columns(columns.listed())  # what is recorded may have others
    rows = (row for row in _database.rows(db, run) if row[0] <= to)
    while chunk := list(itertools.islice(rows, CHUNK)):
        table = columns.taken(recorded.table(chunk))
        past.totals.add(table)
        for each in past.transitions.values():
            begun, ended = each.update(table)
            past.events.extend(begun + ended)
    for name, step, _, value in _database.evaluations(db, run):
        if step <= to:
            past.totals.evaluated(step, name, value)
    events = _database.events(db, run, after=0)
    past.totals.happened(e["severity"] for e in events if e["step"] <= to)
    past.totals.summary |= {name: totals.summary[name] for name in KEPT}
    past.totals.paused()
    return past
