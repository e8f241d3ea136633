"""What one transaction writes of a run, and how."""

import math
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from optaxctl.host._json import clean, dumped, loaded
from optaxctl.host._schema import transaction

JSON = ("config", "environment", "columns", "summary")
EVENT = (
    *("step", "time", "actor", "kind", "severity", "old", "new", "reason"),
    *("evidence", "outcome"),
)


# What a value raises that no file can hold, whatever file it is.
UNFIT = (
    *(OverflowError, UnicodeError, TypeError, RecursionError),
    *(sqlite3.InterfaceError, sqlite3.ProgrammingError),
    *(sqlite3.IntegrityError, sqlite3.DataError),
)


class Batch(NamedTuple):
    """What one transaction writes of a run.

    Attributes:
      run: Fields of `runs`: `key`, `generation` and those that changed; those that
        `presumed` names are for a run that is not there yet.
      back: First delete what is recorded after this step.
      steps: Step, time and row.
      events: By the names in `EVENT`.
      evaluations: Step, time, name and value.
      answers: To commands: the id, or None for all that are unanswered, time, step and
        outcome.
    """

    run: dict[str, Any]
    back: int | None
    steps: list[tuple[int, float, bytes]]
    events: list[dict[str, Any]]
    evaluations: list[tuple[int, float, str, float]]
    answers: Sequence[tuple[int | None, float, int, str]] = ()


def write(db: sqlite3.Connection, batches: Iterable[Batch]) -> None:
    """Writes batches in one transaction; writing one again changes nothing.

    What the connection remembers of the file is read again, since a file that somebody
    has damaged must not seem whole.
    """
    db.execute("PRAGMA shrink_memory")
    with transaction(db):
        for batch in batches:
            _write(db, batch)


def write_fit(
    db: sqlite3.Connection, batches: Sequence[Batch]
) -> list[tuple[Batch, Exception]]:
    """Writes batches but those that no file can hold, and returns these."""
    try:
        write(db, batches)
    except UNFIT:
        unfit: list[tuple[Batch, Exception]] = []
        for batch in batches:
            try:
                write(db, [batch])
            except UNFIT as error:
                unfit.append((batch, error))
        return unfit
    return []


def _write(db: sqlite3.Connection, batch: Batch) -> None:
    key, generation = batch.run["key"], batch.run.get("generation") or 0
    found = db.execute(
        "SELECT id, generation, columns FROM runs WHERE key = ?", (key,)
    ).fetchone()
    if found and "columns" in batch.run:
        columns, rows = _fitted(
            loaded(found[2]) or [], batch.run["columns"], batch.steps
        )
        batch = batch._replace(run={**batch.run, "columns": columns}, steps=rows)
    if late := bool(found) and generation < found[1]:
        run, batch = found[0], _before_forks(db, found[0], generation, batch)
        _upsert(db, {n: batch.run[n] for n in ("key", "columns") if n in batch.run})
    else:
        run = _upsert(db, batch.run)
    if batch.back is not None:
        for table in ("steps", "events", "evaluations"):
            db.execute(
                f"DELETE FROM {table} WHERE run = ? AND step > ?", (run, batch.back)
            )
        db.execute(
            "INSERT INTO forks VALUES(?, ?, ?) ON CONFLICT DO UPDATE SET "
            "step = min(step, excluded.step)",
            (run, generation, batch.back),
        )
    insert = "INSERT OR IGNORE INTO" if late else "INSERT OR REPLACE INTO"
    db.executemany(
        f"{insert} steps VALUES(?, ?, ?, ?)", [(run, *row) for row in batch.steps]
    )
    marks = ", ".join("?" * (len(EVENT) + 1))
    # An event that lasted is told again when it has ended.
    db.executemany(
        f"INSERT INTO events(run, {', '.join(EVENT)}) VALUES({marks}) "
        "ON CONFLICT(run, step, time, actor, kind) DO UPDATE SET new = excluded.new, "
        "evidence = excluded.evidence, outcome = excluded.outcome",
        [(run, *_event(event)) for event in batch.events],
    )
    db.executemany(
        f"{insert} evaluations VALUES(?, ?, ?, ?, ?)",
        [(run, step, at, clean(n), x) for step, at, n, x in batch.evaluations],
    )
    db.executemany(
        "UPDATE commands SET acknowledged_step = ?4, outcome = ?5 WHERE run = ?1 AND "
        "acknowledged_step IS NULL AND (id = ?2 OR ?2 IS NULL AND time <= ?3)",
        [(run, n, at, step, clean(said)) for n, at, step, said in batch.answers],
    )


def _before_forks(
    db: sqlite3.Connection, run: int, generation: int, batch: Batch
) -> Batch:
    """Returns of a batch what still holds, though a later process records the run."""
    (last,) = db.execute(
        "SELECT min(step) FROM forks WHERE run = ? AND generation > ?",
        (run, generation),
    ).fetchone()
    holds = lambda step: last is None or step <= last
    return batch._replace(
        back=None,
        steps=[row for row in batch.steps if holds(row[0])],
        events=[event for event in batch.events if holds(event["step"])],
        evaluations=[row for row in batch.evaluations if holds(row[0])],
    )


def _fitted(
    known: list[list[str]],
    mine: list[list[str]],
    rows: list[tuple[int, float, bytes]],
) -> tuple[list[list[str]], list[tuple[int, float, bytes]]]:
    """Returns the columns of a run with new ones behind, and rows in these columns."""
    names = {name for name, _ in known}
    whole = [*known, *(column for column in mine if column[0] not in names)]
    if whole[: len(mine)] == mine:
        return whole, rows
    places = {name: 4 * i for i, (name, _) in enumerate(mine)}
    blank = {"f": struct.pack("<f", math.nan), "i": bytes(4)}
    cut = [(places.get(name, -1), blank[kind]) for name, kind in whole]
    fit = lambda row: b"".join(
        (at >= 0 and row[at : at + 4]) or absent for at, absent in cut
    )
    return whole, [(step, at, fit(row)) for step, at, row in rows]


def _upsert(db: sqlite3.Connection, fields: dict[str, Any]) -> int:
    given = {n: v for n, v in fields.items() if n != "presumed"}
    sure = given.keys() - set(fields.get("presumed", ()))
    given = {n: dumped(v) if n in JSON else v for n, v in given.items()}
    given = {n: clean(v) if isinstance(v, str) else v for n, v in given.items()}
    given = {"name": fields["key"], "status": "running", **given}
    names = list(given)
    sets = ", ".join(f"{n} = excluded.{n}" for n in names if n in sure)
    found = db.execute(
        f"INSERT INTO runs({', '.join(names)}) VALUES({', '.join('?' * len(names))}) "
        f"ON CONFLICT(key) DO UPDATE SET {sets} RETURNING id",
        list(given.values()),
    ).fetchone()
    return found[0]


def _event(event: dict[str, Any]) -> list[Any]:
    known = {**event, "evidence": dumped(event.get("evidence") or {})}
    values = [known.get(name) for name in EVENT]
    return [clean(x) if isinstance(x, str) else x for x in values]
