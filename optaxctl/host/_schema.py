"""The file of a project: its schema, its migrations, and how it is opened."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

FILE = "optaxctl.db"

# The n-th takes a file from version n to n + 1. What is here is never edited.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs(
            id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
            status TEXT NOT NULL, started REAL, updated REAL, ended REAL, step INTEGER,
            reason TEXT, config TEXT, environment TEXT, columns TEXT, summary TEXT)""",
        # A row is 32-bit words, little-endian, in the order of `runs.columns`.
        """CREATE TABLE steps(
            run INTEGER, step INTEGER, time REAL, row BLOB,
            PRIMARY KEY(run, step)) WITHOUT ROWID""",
        """CREATE TABLE events(
            id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, step INTEGER, time REAL,
            actor TEXT, kind TEXT, severity TEXT, old REAL, new REAL, reason TEXT,
            evidence TEXT, outcome TEXT)""",
        "CREATE UNIQUE INDEX events_once ON events(run, step, time, actor, kind)",
        """CREATE TABLE evaluations(
            run INTEGER, step INTEGER, time REAL, name TEXT, value REAL,
            PRIMARY KEY(run, step, name)) WITHOUT ROWID""",
        """CREATE TABLE commands(
            id INTEGER PRIMARY KEY, run INTEGER, time REAL, what TEXT,
            acknowledged_step INTEGER, outcome TEXT)""",
    ),
    (
        # The id of a deleted run is not given to another one, which somebody who holds
        # the first would then read. A generation is a process that records the run.
        """CREATE TABLE new_runs(
            id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL, status TEXT NOT NULL, started REAL, updated REAL,
            ended REAL, step INTEGER, reason TEXT, config TEXT, environment TEXT,
            columns TEXT, summary TEXT, generation INTEGER NOT NULL DEFAULT 0)""",
        """INSERT INTO new_runs(
            id, key, name, status, started, updated, ended, step, reason, config,
            environment, columns, summary) SELECT * FROM runs""",
        "DROP TABLE runs",
        "ALTER TABLE new_runs RENAME TO runs",
        # The lowest step from which a generation has recorded anew.
        """CREATE TABLE forks(
            run INTEGER, generation INTEGER, step INTEGER,
            PRIMARY KEY(run, generation)) WITHOUT ROWID""",
    ),
)
VERSION = len(MIGRATIONS)
BUSY = 0.5  # seconds to wait for another writer


def connect(path: Path) -> sqlite3.Connection:
    """Opens a file for writing; creates it, and brings it to this version, if need be.

    Raises:
      sqlite3.Error: If the file is locked, read-only, full, or none of ours.
      ValueError: If a newer release has written it.
    """
    db = sqlite3.connect(
        path, timeout=BUSY, isolation_level=None, check_same_thread=False
    )
    try:
        _version(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a file to look, as it is at this moment, and closes it.

    It writes nothing: an older file is brought to this version in memory.

    Raises:
      sqlite3.Error: If the file is no database, or that of another program.
      ValueError: If a newer release has written it.
    """
    db = _look(path)
    try:
        if _version(db, path) < VERSION:
            old, db = db, sqlite3.connect(":memory:", isolation_level=None)
            with closing(old):
                old.backup(db)
            _migrate(db, path)
        db.execute("BEGIN")
        yield db
    finally:
        db.close()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Writes all or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _look(path: Path) -> sqlite3.Connection:
    # Where nothing may be written WAL's own files cannot be made, and the file is read
    # without them.
    try:
        return _opened(path, "mode=ro")
    except sqlite3.OperationalError:
        return _opened(path, "mode=ro&immutable=1")


def _opened(path: Path, options: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{options}"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY, isolation_level=None)
    try:
        db.execute("PRAGMA user_version").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection, path: Path) -> int:
    # In this order, as another process may make it a file of ours in between.
    has_tables = db.execute("SELECT 1 FROM sqlite_master").fetchone()
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ValueError(
            f"{path} has schema version {version}, and this release knows up to "
            f"{VERSION}. Upgrade optaxctl to read it."
        )
    if has_tables and not version:
        raise sqlite3.DatabaseError(f"{path} is the database of another program")
    return version


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    if _version(db, path) == VERSION:
        return
    with transaction(db):
        # Another process may have been faster.
        for statements in MIGRATIONS[_version(db, path) :]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
