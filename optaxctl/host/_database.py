"""What is read from the file of a project; with `_batch` every SQL statement.

No jax and no numpy here: who only reads starts at once. Times are Unix seconds.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from optaxctl.host._batch import (
    EVENT,
    JSON,
    Batch as Batch,
    write as write,
    write_fit as write_fit,
)
from optaxctl.host._json import dumped, loaded
from optaxctl.host._schema import (
    FILE as FILE,
    connect as connect,
    reading as reading,
    transaction as transaction,
)

FIELDS = (
    *("key", "name", "status", "started", "updated", "ended", "step", "reason"),
    *JSON,
)


def runs(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Returns all runs, the newest first."""
    names = ("id", *FIELDS)
    rows = db.execute(f"SELECT {', '.join(names)} FROM runs ORDER BY started DESC")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [{n: loaded(v) if n in JSON else v for n, v in r.items()} for r in found]


def generation(db: sqlite3.Connection, key: str) -> int:
    """Returns of which process the run is, as a number that rises; 0 if unknown."""
    found = db.execute("SELECT generation FROM runs WHERE key = ?", (key,)).fetchone()
    return found[0] if found else 0


def number(db: sqlite3.Connection, key: str) -> int:
    """Returns the id of a run, under which its rows are kept; 0 if there is none."""
    found = db.execute("SELECT id FROM runs WHERE key = ?", (key,)).fetchone()
    return found[0] if found else 0


def columns(db: sqlite3.Connection, run: int) -> list[list[str]]:
    """Returns names and kinds of the columns of a run."""
    found = db.execute("SELECT columns FROM runs WHERE id = ?", (run,)).fetchone()
    return (found and loaded(found[0])) or []


def words(
    db: sqlite3.Connection, run: int, column: int, first: int, last: int
) -> tuple[list[int], bytes]:
    """Returns the steps, and one column of their rows; a column too many is absent."""
    rows = db.execute(
        "SELECT step, substr(row, ?, 4) FROM steps "
        "WHERE run = ? AND step BETWEEN ? AND ? AND length(row) >= ?",
        (4 * column + 1, run, first, last, 4 * column + 4),
    ).fetchall()
    return [row[0] for row in rows], b"".join([row[1] for row in rows])


def span(db: sqlite3.Connection, run: int) -> tuple[int, int] | None:
    """Returns the first and the last recorded step, if there is any."""
    first, last = db.execute(
        "SELECT (SELECT min(step) FROM steps WHERE run = ?1), "
        "(SELECT max(step) FROM steps WHERE run = ?1)",
        (run,),
    ).fetchone()
    return None if first is None else (first, last)


def rows(db: sqlite3.Connection, run: int) -> Iterator[tuple[int, float, bytes]]:
    """Yields step, time and row of every step, in order."""
    yield from db.execute(
        "SELECT step, time, row FROM steps WHERE run = ? ORDER BY step", (run,)
    )


def evaluations(
    db: sqlite3.Connection, run: int
) -> list[tuple[str, int, float, float]]:
    """Returns name, step, time and value of every evaluation, in order of the steps."""
    found = db.execute(
        "SELECT name, step, time, value FROM evaluations WHERE run = ? ORDER BY step",
        (run,),
    )
    return [(n, s, t, math.nan if v is None else v) for n, s, t, v in found]


def events(db: sqlite3.Connection, run: int, after: int) -> list[dict[str, Any]]:
    """Returns the events with a higher id than `after`, in order."""
    names = ("id", *EVENT)
    found = db.execute(
        f"SELECT {', '.join(names)} FROM events WHERE run = ? AND id > ? ORDER BY id",
        (run, after),
    )
    table = [dict(zip(names, row, strict=True)) for row in found]
    return [{**event, "evidence": loaded(event["evidence"])} for event in table]


def command(db: sqlite3.Connection, run: int, time: float, what: dict[str, Any]) -> int:
    """Leaves a command for a run, and returns its id."""
    with transaction(db):
        found = db.execute(
            "INSERT INTO commands(run, time, what) VALUES(?, ?, ?) RETURNING id",
            (run, time, dumped(what)),
        )
        return found.fetchone()[0]


def commands(db: sqlite3.Connection, key: str) -> list[dict[str, Any]]:
    """Returns the commands of a run, the oldest first."""
    names = ("id", "time", "what", "acknowledged_step", "outcome")
    found = db.execute(
        f"SELECT {', '.join('commands.' + n for n in names)} FROM commands "
        "JOIN runs ON runs.id = commands.run WHERE key = ? ORDER BY commands.id",
        (key,),
    )
    table = [dict(zip(names, row, strict=True)) for row in found]
    return [{**row, "what": loaded(row["what"])} for row in table]


def delete(db: sqlite3.Connection, runs: Iterable[int]) -> None:
    """Deletes runs with all that is recorded of them."""
    gone = [(run,) for run in runs]
    with transaction(db):
        for table in ("steps", "events", "evaluations", "commands", "forks"):
            db.executemany(f"DELETE FROM {table} WHERE run = ?", gone)
        db.executemany("DELETE FROM runs WHERE id = ?", gone)


def check(db: sqlite3.Connection) -> None:
    """Looks through the whole file.

    Raises:
      sqlite3.DatabaseError: If it is damaged.
    """
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(f"database disk image is malformed: {found}")


def vacuum(db: sqlite3.Connection) -> None:
    """Gives the space of what was deleted back to the disk."""
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
