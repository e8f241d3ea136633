"""Files that hold what a run recorded while its database could not be written."""

import hashlib
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from optaxctl.host import _database
from optaxctl.host._database import Batch
from optaxctl.host._format import count
from optaxctl.host._json import dumped, loaded
from optaxctl.host._recorded import is_alive

SPILL = ".spill.jsonl"
FORGOTTEN = 3600  # seconds after which a file that tells nothing is nobody's


def places(directory: Path, key: str) -> list[Path]:
    """Returns where a run may spill, in the order in which it tries them."""
    elsewhere = Path(tempfile.gettempdir())
    return [directory / f"{key}{SPILL}", elsewhere / f"{_mark(directory)}{key}{SPILL}"]


def spilled(directory: Path) -> list[Path]:
    """Returns the files that the runs of a project have spilled, wherever they are."""
    elsewhere = Path(tempfile.gettempdir()).glob(f"{_mark(directory)}*{SPILL}")
    # Anybody may write there.
    return sorted(directory.glob(f"*{SPILL}")) + sorted(filter(_is_mine, elsewhere))


def line(batch: Batch) -> str:
    """Returns a batch as it is spilled."""
    told = batch._asdict()
    told["steps"] = [(s, t, row.hex()) for s, t, row in batch.steps]
    return dumped(told)


def append(path: Path, batches: list[Batch]) -> None:
    """Appends batches to a file.

    Raises:
      OSError: If it cannot be written.
    """
    lines = map(line, batches)
    # The first end of line is for a line that was cut off, as by a full disk.
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(lines) + "\n")


def read(path: Path) -> tuple[list[Batch], list[str]]:
    """Returns what was spilled, and the lines that make no sense.

    A line that was cut off is neither; a file that is gone has none.

    Raises:
      OSError: If the file cannot be read.
    """
    batches, senseless = [], []
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    for text in lines:
        try:
            batches += [_batch(loaded(text))] if text.strip() else []
        except (KeyError, TypeError, AttributeError):
            senseless.append(text)
        except (ValueError, RecursionError):
            senseless += [text] if "\ufffd" in text else []
    return batches, senseless


def set_aside(directory: Path, key: str, lines: list[str]) -> Path:
    """Keeps what cannot be written to a database, for whoever wants to look at it.

    Raises:
      OSError: If it cannot be kept.
    """
    path = directory / f"{key}.bad.jsonl"
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


def merge(directory: Path, key: str) -> list[str]:
    """Merges what a run, or those whose process is gone, have spilled, and deletes it.

    Returns what went wrong, in sentences; a file of which something did not fit, or
    that makes no sense, does not keep others from being merged.
    """
    troubles: list[str] = []
    for path in spilled(directory):
        try:
            troubles += _merge(directory, path, key)
        except FileNotFoundError:  # another process was faster
            continue
        except (sqlite3.Error, OSError, ValueError) as error:
            troubles.append(f"{path} could not be merged yet ({error}).")
            if isinstance(error, sqlite3.Error):
                break  # the next one would wait for the same
    return troubles


def _merge(directory: Path, path: Path, key: str) -> list[str]:
    batches, senseless = read(path)
    environment = batches[-1].run.get("environment") if batches else None
    mine = bool(batches) and batches[-1].run["key"] == key
    if not mine and not _is_nobodys(directory, path, environment):
        return []
    if batches:
        db = _database.connect(directory / _database.FILE)
        try:
            unfit = _database.write_fit(db, batches)
        finally:
            db.close()
        senseless += [line(batch) for batch, _ in unfit]
    told = []
    if senseless:
        aside = set_aside(directory, path.name.removesuffix(SPILL), senseless)
        lines = count(len(senseless), "line")
        told.append(f"{lines} of {path} could not be merged: see {aside}.")
    path.unlink(missing_ok=True)
    return told


def _is_nobodys(directory: Path, path: Path, environment: Any) -> bool:
    """Whether no process will add to a file."""
    if environment is not None:
        return not is_alive(environment)
    name = path.name.removesuffix(SPILL).removeprefix(_mark(directory))
    file = directory / _database.FILE
    if file.is_file():
        with _database.reading(file) as db:
            known = {run["key"]: run["environment"] for run in _database.runs(db)}
        if name in known:
            return not is_alive(known[name])
    return time.time() - path.stat().st_mtime > FORGOTTEN


def _batch(told: dict[str, Any]) -> Batch:
    if not isinstance(told["run"]["key"], str):
        raise TypeError
    return Batch(
        run=told["run"],
        back=told["back"],
        steps=[(s, t, bytes.fromhex(row)) for s, t, row in told["steps"]],
        events=[{"step": event["step"], **event} for event in told["events"]],
        evaluations=[(s, t, n, x) for s, t, n, x in told["evaluations"]],
        answers=[(n, t, s, said) for n, t, s, said in told.get("answers", ())],
    )


def _mark(directory: Path) -> str:
    """Returns what the names of a project's files elsewhere begin with."""
    path = os.fsencode(os.path.realpath(directory))
    return f"optaxctl-{hashlib.sha256(path).hexdigest()[:12]}-"


def _is_mine(path: Path) -> bool:
    try:
        return not path.is_symlink() and path.stat().st_uid == os.getuid()
    except (OSError, AttributeError):  # of a system without users
        return os.name == "nt"
