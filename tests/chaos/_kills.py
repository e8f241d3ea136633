"""Kills a training run again and again, and compares how it ends with a whole one."""

import json
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from optaxctl.host._recorded import Run
from optaxctl.host.runs import Project
from tests.chaos._process import End, Training


@dataclass(frozen=True)
class Whole:
    """The run that nothing happened to."""

    training: Training
    directory: Path
    end: End
    disk: "Whole | None" = None
    """The same where the loop goes back to checkpoints, in place of the steps."""

    def differences(self, directory: Path, end: End) -> list[str]:
        """Returns what of another run is not bit for bit as it is here."""
        if not end.done:
            return [end.complaint]
        memory = self.end.report["memory"]
        here = {"memory": memory, "disk": memory, **_records(self.directory)}
        there = {**end.report, **_records(directory)}
        return [name for name in here if here[name] != there[name]]

    def leftovers(self, directory: Path, end: End) -> list[str]:
        """Returns the checkpoints that should not be there, or should and are not.

        Where the training was done already a save was cut off at its very end, and no
        save came after it that would have deleted the one too many.
        """
        kept, found = (set(checkpoints(d)) for d in (self.directory, directory))
        if end.done and end.report["resumed"] == rows(self.directory)[-1]["epoch"]:
            oldest = min(map(int, kept))
            found -= {n for n in found if n.isdigit() and int(n) < oldest}
        return sorted(found ^ kept)


def whole(directory: Path) -> Whole:
    """Trains without a kill, and compiles what the others need."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    digits = directory / "digits.npz"
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    np.savez(digits, images=images, labels=labels)
    training = Training(digits, directory / "cache")
    disk = _whole(replace(training, options=("--disk",)), directory / "whole-disk")
    if not any(row["rewind"] for row in rows(disk.directory)):
        raise RuntimeError("The training never goes back to a checkpoint.")
    return replace(_whole(training, directory / "whole"), disk=disk)


def _whole(training: Training, directory: Path) -> Whole:
    end = training.run(directory)
    if not end.done:
        raise RuntimeError(f"The training fails by itself:\n{end.errors}")
    return Whole(training, directory, end)


KINDS = ("event", "clock", "SIGTERM")


@dataclass(frozen=True)
class Round:
    """A run that was killed and restarted until it was done."""

    number: int
    kills: list[dict[str, Any]]
    differences: list[str]
    leftovers: list[str]
    lost: int  # steps that are missing in its history
    doubled: int  # and those that are too many


def killed(run: Whole, at: Path, seed: int, number: int) -> Round:
    """Kills a run one to three times, by what it does to files or by the clock.

    Or tells it to leave, by SIGTERM, which may come in a save as well. Every other run
    is one that goes back to checkpoints.
    """
    run = run.disk if run.disk and number % 2 else run
    rng = random.Random(f"{seed}/{number}")
    directory = at / f"round-{number}"
    kills: list[dict[str, Any]] = []
    # The first one lands, however busy the machine is.
    for kind in ["event", *rng.choices(KINDS, k=rng.randint(0, 2))]:
        if kind == "event":
            event = rng.randint(1, int(0.9 * run.end.report["events"]))
            end = run.training.kill_at(directory, event)
        else:
            # Half of the time of the whole run went into compiling.
            seconds = rng.uniform(0, run.end.seconds / 2)
            told = kind == "SIGTERM"
            act = run.training.tell_after if told else run.training.kill_after
            end = act(directory, seconds)
        if not (end.killed or end.left):
            break
        kills.append({"kind": kind, **_wreckage(directory)})
    else:
        end = run.training.run(directory)
    wanted = steps(run.directory)
    found = steps(directory) if end.done else []
    result = Round(
        number,
        kills,
        run.differences(directory, end),
        run.leftovers(directory, end),
        lost=len(set(wanted) - set(found)),
        doubled=len(found) - len(set(found) & set(wanted)),
    )
    shutil.rmtree(directory)
    return result


def checkpoints(directory: Path) -> list[str]:
    """Returns what is in the directory of the checkpoints, if there is one.

    Not what the loop puts aside there, in the middle of an epoch or in an emergency.
    """
    found = directory / "checkpoints"
    aside = {"interim", "emergency"}
    names = {path.name for path in found.iterdir()} if found.exists() else set()
    return sorted(names - aside)


def rows(directory: Path) -> list[dict[str, Any]]:
    """Returns what the program has written of the epochs."""
    lines = (directory / "record.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def steps(directory: Path) -> list[int]:
    """Returns the steps in the history."""
    return _recorded(directory).series("step")[0]


def _recorded(directory: Path) -> Run:
    # A run that was killed before it had saved anything is another one.
    return Project(directory / "runs").runs()[0]


def _records(directory: Path) -> dict[str, Any]:
    """Returns all that is recorded but times and paths."""
    run = _recorded(directory)
    emergency = "emergency"  # its outcome is a path
    events = [
        (e.step, e.actor, e.kind, e.severity, e.old, e.new, e.reason, e.evidence)
        + (() if e.kind == emergency else (e.outcome,))
        for e in run.events()
    ]
    return {
        "epochs": rows(directory),
        "series": {name: str(run.series(name)) for name in run.names()},
        "events": sorted(map(str, events)),
        "end": (run.step, run.status, run.reason),
    }


def _wreckage(directory: Path) -> dict[str, Any]:
    """What a kill left behind."""
    record = directory / "record.jsonl"
    return {
        "half a save": not all(map(str.isdigit, checkpoints(directory))),
        "torn line": record.exists() and not record.read_bytes().endswith(b"\n"),
    }
