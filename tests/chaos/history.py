"""Kills writers, locks, fills and damages the database: `-m tests.chaos.history`.

Whatever is done, the training has to go on, and what was acknowledged, which is what
`flush` said is kept, must be in the database in the end, every step once. Of a damaged
file that holds for what came after the damage.
"""

import argparse
import functools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optaxctl as octl
from optaxctl.host import _database
from optaxctl.host._spill import SPILL
from tests.bench._protocol import Report, progress
from tests.chaos._disks import _disk as disk

ROOT = Path(__file__).parents[2]
STEPS = 3000


class Writer:
    """A process that records, and what it said."""

    def __init__(self, directory: Path, *options: Any):
        command = [sys.executable, "-m", "tests.chaos._writer", str(directory)]
        self.directory, self.said, self.status = directory, [], 0
        self._process = subprocess.Popen(
            [*command, *map(str, options)],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def lines(self) -> Iterator[str]:
        """Yields what it says, as it says it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.strip())
            yield self.said[-1]

    def until(self, word: str) -> "Writer":
        """Waits until it has said something that begins so."""
        for line in self.lines():
            if line.startswith(word):
                break
        return self

    def kill(self) -> "Writer":
        self._process.send_signal(signal.SIGKILL)
        return self.end()

    def end(self) -> "Writer":
        for _ in self.lines():
            pass
        assert self._process.stderr is not None
        self.errors = self._process.stderr.read()
        self.status = self._process.wait()
        return self

    @property
    def warned(self) -> int:
        return self.errors.count("Warning: ")

    @property
    def key(self) -> str:
        return self.said[0].removeprefix("key ")

    @property
    def kept(self) -> int:
        """The last step that was acknowledged."""
        steps = [int(s.split()[1]) for s in self.said if s.startswith("kept ")]
        return max(steps, default=0)


def wrong(writer: Writer, last: int, first: int = 1) -> str:
    """Returns what is wrong with what is recorded from a step to another."""
    file = writer.directory / _database.FILE
    try:
        with _database.reading(file) as db:
            run = _database.number(db, writer.key)
            found = [row for row in _database.rows(db, run) if row[0] >= first]
    except (OSError, sqlite3.Error) as error:
        return repr(error)
    steps = [step for step, _, _ in found]
    accepted = [int.from_bytes(row[4:8], "little") for _, _, row in found]
    if steps[: last - first + 1] != list(range(first, last + 1)):
        missing = sorted(set(range(first, last + 1)) - set(steps))
        return f"{len(missing)} steps are missing, the first is {missing[:1]}"
    return "" if accepted == steps else "rows are not those that were written"


def kills(at: Path, rng: random.Random, ring: int = 0) -> dict[str, Any]:
    """Kills a writer at any moment, and lets another go on from what is kept."""
    how = ("--ring", ring, "--flush-every", rng.choice((7, 50, 400)))
    first = Writer(at, *how, "--steps", 10**6)
    first.until("kept")
    time.sleep(rng.uniform(0, 1.5))
    first.kill()
    lost = wrong(first, first.kept)
    start = rng.randint(1, first.kept)
    end = ("--ring", ring, "--start", start, "--steps", start + 500)
    second = Writer(at, "--resume", first.key, *end).until("key").end()
    steps = octl.runs.Project(at).run(first.key).series("step")[0]
    once = steps == list(range(1, start + 501))
    return _row(second, kept=first.kept, lost=lost, whole=once)


def together(at: Path, rng: random.Random) -> dict[str, Any]:
    """Four writers in one file, of which two are killed."""
    writers = [Writer(at, "--name", f"w{i}", "--steps", STEPS) for i in range(4)]
    for writer in writers:
        writer.until("kept")
    for writer in writers[:2]:
        time.sleep(rng.uniform(0, 0.3))
        writer.kill()
    lost = [wrong(w, w.kept) for w in writers[:2]]
    lost += [wrong(w.end(), STEPS) for w in writers[2:]]
    return _row(writers[3], kept=writers[0].kept, lost=" ".join(filter(None, lost)))


def locked(at: Path, rng: random.Random) -> dict[str, Any]:
    """Holds the lock for some seconds; sometimes a writer is killed meanwhile."""
    writer = Writer(at, "--seconds", 0.002, "--steps", STEPS).until("kept")
    db = sqlite3.connect(at / _database.FILE, isolation_level=None, timeout=30)
    db.execute("BEGIN IMMEDIATE")
    time.sleep(rng.uniform(1, 4))
    dies = rng.random() < 0.5
    if dies:
        writer.kill()
    db.execute("ROLLBACK")
    db.close()
    if not dies:
        writer.end()
        return _row(writer, kept=writer.kept, lost=wrong(writer, STEPS))
    other = Writer(at, "--steps", 50).end()
    return _row(other, kept=writer.kept, lost=wrong(writer, writer.kept))


def damaged(at: Path, rng: random.Random, how: str) -> dict[str, Any]:
    """Overwrites, cuts or deletes the file while a writer uses it."""
    writer = Writer(at, "--seconds", 0.002, "--steps", STEPS).until("kept 500")
    file = at / _database.FILE
    size = file.stat().st_size
    if how == "deleted":
        for path in at.glob(f"{_database.FILE}*"):
            path.unlink()
    elif how == "cut":
        os.truncate(file, size // 2)
    else:
        place = 0 if how == "garbage" else 4096 * rng.randrange(max(size // 4096, 1))
        with file.open("r+b") as stream:
            stream.seek(place)
            stream.write(rng.randbytes(4096 if how == "page" else size))
    since = writer.kept + 100
    writer.end()
    lost = wrong(writer, STEPS, since)
    if lost and next(at.glob(f"*{SPILL}"), None):
        # The file is beyond repair: it is set aside, and the next run merges.
        for path in at.glob(f"{_database.FILE}*"):
            path.rename(path.with_name(f"damaged-{path.name}"))
        Writer(at, "--steps", 50).end()
        lost = wrong(writer, STEPS, since)
    return _row(writer, kept=writer.kept, lost=lost)


def full(at: Path, rng: random.Random) -> dict[str, Any] | None:
    """Fills the disk, and empties it before the end or after it."""
    at.rmdir()
    with disk(at, 200) as resize:
        if resize is None:
            return None
        ballast = at / "ballast"
        writer = Writer(at, "--seconds", 0.001, "--steps", STEPS).until("kept")
        with suppress(OSError), ballast.open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                pass
        frees = rng.random() < 0.5
        if frees:
            time.sleep(2)
            ballast.unlink()
        writer.end()
        if not frees:
            ballast.unlink()
        resize(2000)
        other = Writer(at, "--steps", 50).end()
        lost = wrong(writer, writer.kept)
        return _row(other, kept=writer.kept, lost=lost or wrong(writer, STEPS))


def _row(writer: Writer, *, lost: str, whole: bool = True, **told: Any) -> dict:
    good = writer.status == 0 and "done" in writer.said and not lost and whole
    goes_on = writer.status == 0
    return {**told, "goes on": goes_on, "lost": lost, "once": whole, "pass": good}


SCENES: dict[str, Callable[[Path, random.Random], dict[str, Any] | None]] = {
    "killed": kills,
    "killed: from a ring": functools.partial(kills, ring=64),
    "together": together,
    "locked": locked,
    **{
        f"damaged: {how}": functools.partial(damaged, how=how)
        for how in ("garbage", "cut", "page", "deleted")
    },
    "full": full,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.history")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SCENES)
    options = parser.parse_args()
    report = Report("history")
    for name, scene in SCENES.items():
        if options.only in (None, name):
            rows = []
            for i in range(options.rounds):
                progress(f"{name}, {i + 1} of {options.rounds}")
                with tempfile.TemporaryDirectory() as temporary:
                    at = Path(temporary) / "runs"
                    at.mkdir()
                    rows.append(scene(at, random.Random(f"{options.seed}/{name}/{i}")))
            done = [row for row in rows if row is not None]
            report.table(name, done)
            failed = sum(not row["pass"] for row in done)
            report.bound(f"{name}: rounds that went wrong", failed, 0, "count")
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
