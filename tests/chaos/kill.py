"""Kills and harms a training run: `python -m tests.chaos.kill --rounds 100 --json`.

A process trains on the digits under full control, and saves after every epoch while
the next one runs. SIGKILL ends it where a seed says, in a save or by the clock, and it
is restarted until it is done. Parameters, optimizer, control, the best and the record
must then equal, bit for bit, those of a run that nothing happened to. Also: a file of
the newest checkpoint is cut in half or has a bit flipped, the disk is full, SIGTERM
tells it to leave, and of two processes that train together one is killed.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.bench._protocol import Report, progress
from tests.chaos import _disks, _kills, _processes
from tests.chaos._kills import Whole

Map = Callable[..., Iterable[Any]]


def kills(
    report: Report, run: Whole, at: Path, *, rounds: int, seed: int, each: Map
) -> None:
    """Kills run after run."""
    results = []
    for result in each(lambda n: _kills.killed(run, at, seed, n), range(rounds)):
        how = ", ".join(result.differences) or "equal"
        progress(f"round {result.number}: {len(result.kills)} kills, {how}")
        results.append(result)
    landed = [kill for result in results for kill in result.kills]
    rows = []
    for kind in _kills.KINDS:
        of = [kill for kill in landed if kill["kind"] == kind]
        found = {k: sum(kill[k] for kill in of) for k in ("half a save", "torn line")}
        rows.append({"by": kind, "kills": len(of), **found})
    report.table("kills, and what they left behind", rows)
    bad = [r for r in results if r.differences or r.leftovers]
    report.table(
        "rounds gone wrong",
        [
            {
                "round": r.number,
                "differs": ", ".join(r.differences),
                "left over": ", ".join(r.leftovers),
            }
            for r in bad
        ],
    )
    for name, value in {
        "rounds that differ": sum(bool(r.differences) for r in results),
        "steps lost from a history": sum(r.lost for r in results),
        "steps doubled in a history": sum(r.doubled for r in results),
        "rounds that leave something over": sum(bool(r.leftovers) for r in results),
        "rounds without a kill": sum(not r.kills for r in results),
    }.items():
        report.bound(name, value, 0, "count")


def damage(
    report: Report, run: Whole, stage: Path, at: Path, *, seed: int, each: Map
) -> None:
    """Damages one file of the newest checkpoint after the other."""
    files, kinds, runs = zip(*_disks.damaged(stage, at, seed), strict=True)
    rows = [
        {"file": file, "damage": kind, **found}
        for file, kind, found in zip(
            files, kinds, each(lambda d: _disks.after_damage(run, d), runs), strict=True
        )
    ]
    report.table("the newest checkpoint damaged", rows)
    bad = sum(not row["pass"] for row in rows)
    report.bound("damaged checkpoints not survived", bad, 0, "count")


def full_disk(report: Report, run: Whole, stage: Path, at: Path) -> None:
    """Fills the disk."""
    found = {
        "limit on a file": _disks.limited_file(run, at),
        "small disk": _disks.small_disk(run, stage, at),
    }
    rows = [{"disk": name, **row} for name, row in found.items() if row]
    report.table("the disk is full", rows)
    bad = sum(not row["pass"] for row in rows)
    report.bound("full disks not survived", bad, 0, "count")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kill")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time")
    options = parser.parse_args()
    report = Report("kill")
    seed = options.seed
    with (
        tempfile.TemporaryDirectory() as temporary,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        at = Path(temporary)
        progress("a run that nothing happens to")
        run = _kills.whole(at)
        stage = _disks.staged(run, at)
        kills(report, run, at, rounds=options.rounds, seed=seed, each=pool.map)
        progress("damaged checkpoints")
        damage(report, run, stage, at, seed=seed, each=pool.map)
        progress("full disks")
        full_disk(report, run, stage, at)
        progress("two processes")
        row = _processes.two_processes(at / "two", seed)
        report.table("one of two processes killed", [row])
        report.bound("two processes not survived", not row["pass"], 0, "count")
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
