"""What was recorded of a run, and of what happened in it."""

import array
import importlib
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from optaxctl._core.closest import did_you_mean
from optaxctl.host import _commands, _database

Status = Literal["running", "stopped", "finished", "failed", "interrupted", "lost"]
Level = Literal["info", "warning", "critical", "emergency"]

STATUSES: tuple[Status, ...] = get_args(Status)
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Event:
    """A transition: who did what, when, why, and what came of it.

    Attributes:
      id: A number that rises with every event of the project.
      step: The step in which it happened.
      time: When it was recorded, in Unix seconds.
      actor: A controller's name in `together`, or "guard", "user" or "loop".
      kind: What happened, such as "lr_scale", "refused" or "stop".
      severity: "info", "warning", "critical" or "emergency".
      old: The value before, if there was one.
      new: The value after, if there is one.
      reason: Why, in a sentence.
      evidence: What it was decided on, by name.
      outcome: What happened next, in a sentence; empty while that is not known.
    """

    id: int
    step: int
    time: float
    actor: str
    kind: str
    severity: Level
    old: float | None
    new: float | None
    reason: str
    evidence: dict[str, Any] = field(hash=False)
    outcome: str


@dataclass(frozen=True)
class Run:
    """A run as it stood when it was looked up.

    Attributes:
      key: Its short and unique name, such as "digits-0a3f".
      name: The name that it was given.
      status: "running", "stopped" (a controller asked), "finished", "failed",
        "interrupted", or "lost" if its process is gone without a word.
      started: When, in Unix seconds.
      updated: When something was recorded last.
      ended: When, or None.
      step: The last recorded step; 0 if there is none.
      reason: Why it ended, in a sentence; empty if it did not.
      config: What `History` was given.
      environment: Versions, machine and process.
      columns: What is recorded in every step: names, and "f" or "i".
      summary: Totals, best and last values, kept up to date by the writer.
    """

    key: str
    name: str
    status: Status
    started: float
    updated: float
    ended: float | None
    step: int
    reason: str
    config: dict[str, Any] = field(repr=False, hash=False)
    environment: dict[str, Any] = field(repr=False, hash=False)
    columns: list[tuple[str, str]] = field(repr=False, hash=False)
    summary: dict[str, Any] = field(repr=False, hash=False)
    path: Path = field(repr=False)
    id: int = field(repr=False)

    def names(self) -> list[str]:
        """Returns the names of everything that `series` can return."""
        columns = [name for name, _ in self.columns]
        with _database.reading(self.path) as db:
            evaluated = {name for name, *_ in _database.evaluations(db, self.id)}
        return [*columns, *sorted(evaluated.difference(columns))]

    def series(
        self, name: str, first: int | None = None, last: int | None = None
    ) -> tuple[list[int], list[float]]:
        """Returns the steps and the values of what was evaluated or recorded.

        Of a name that was both, as a signal that `control` observes, it returns the
        evaluations. NaN is what was not measured, or was NaN.

        Args:
          name: One of `names()`.
          first: The first step to return; by default the first there is.
          last: The last step to return; by default the last there is.

        Raises:
          LookupError: If nothing of that name is recorded.

        Example:
          >>> import tempfile, optaxctl as octl
          >>> with octl.history.History(tempfile.mkdtemp(), name="digits") as history:
          ...     history.evaluated(100, val_loss=0.5)
          >>> run = octl.runs.Project(history.directory).run("@latest")
          >>> run.series("val_loss")
          ([100], [0.5])
        """
        low, high = first or 0, sys.maxsize if last is None else last
        with _database.reading(self.path) as db:
            evaluated = _database.evaluations(db, self.id)
            if found := [row for row in evaluated if row[0] == name]:
                rows = [(s, v) for _, s, _, v in found if low <= s <= high]
                return [step for step, _ in rows], [value for _, value in rows]
            for column, (known, kind) in enumerate(self.columns):
                if known == name:
                    steps, words = _database.words(db, self.id, column, low, high)
                    return steps, numbers(words, kind)
        known = [*dict(self.columns), *{row[0] for row in evaluated}]
        raise LookupError(
            f"{self.key} has no series `{name}`.{did_you_mean(name, known)} It has "
            f"{', '.join(sorted(known)) or 'none yet'}."
        )

    def evaluations(self) -> dict[str, tuple[list[int], list[float]]]:
        """Returns the steps and values of everything that was evaluated, by name."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        with _database.reading(self.path) as db:
            for name, step, _, value in _database.evaluations(db, self.id):
                steps, values = found.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
        return found

    def events(self, severity: Level | None = None, after: int = 0) -> list[Event]:
        """Returns what happened, in order.

        Args:
          severity: The lowest severity to return; all by default.
          after: Only events with a higher `id`, as to follow a run.

        Raises:
          ValueError: If there is no such severity.
        """
        if severity is not None:
            one_of("Run.events", "severity", severity, LEVELS)
        wanted = LEVELS[LEVELS.index(severity or "info") :]
        with _database.reading(self.path) as db:
            found = _database.events(db, self.id, after)
        return [Event(**event) for event in found if event["severity"] in wanted]

    def ask(self, **what: Any) -> int:
        """Leaves a command for the run, for its loop to carry out and acknowledge.

        Args:
          **what: One of `lr_scale=` (0 to 10), `learning_rate=` (0 to 1,000) and
            `stop=True`.

        Returns:
          The id of the command, as in `commands`.

        Raises:
          ValueError: If it is none of these, and nothing is written.
        """
        _commands.check(what)
        db = _database.connect(self.path)
        try:
            return _database.command(db, self.id, time.time(), what)
        finally:
            db.close()

    def _repr_html_(self) -> str:
        # By name and on use, as reports are drawn further down, and need numpy.
        return importlib.import_module("optaxctl.report").html(self)._repr_html_()

    def commands(self) -> list[dict[str, Any]]:
        """Returns the commands that it was left, with the step that took them up."""
        with _database.reading(self.path) as db:
            return _database.commands(db, self.key)


def identity() -> dict[str, Any]:
    """Returns what tells whether this process is still there."""
    pid = os.getpid()
    _, began = _process(pid)
    return {"pid": pid, "host": platform.node(), "began": began}


def is_alive(environment: dict[str, Any]) -> bool:
    """Whether the process of a run may still be there; it is known on its host only."""
    pid, host = environment.get("pid"), environment.get("host")
    # On Windows `os.kill` would end the process that it is to ask for.
    if not isinstance(pid, int) or host != platform.node() or sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    state, began = _process(pid)
    # The number of a process that is gone is given to another one in time.
    another = None not in (began, known := environment.get("began")) and known != began
    return state not in ("Z", "X") and not another


def _process(pid: int) -> tuple[str, int | None]:
    """Returns the state of a process and when it began, where Linux tells it."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", None
    words = told.rpartition(")")[2].split()  # the name in brackets may have spaces
    return words[0], int(words[19])


def numbers(words: bytes, kind: str) -> list[float]:
    """Returns the values of a column from its bytes."""
    found = array.array("i" if kind == "i" else "f", words)
    if sys.byteorder == "big":
        found.byteswap()
    return cast(list[float], found.tolist())


def one_of(who: str, argument: str, value: str, allowed: tuple[str, ...]) -> None:
    """Requires an argument to be one of the allowed words."""
    if value not in allowed:
        words = " or ".join(map(repr, allowed))
        raise ValueError(
            f"`{who}({argument}=...)` must be {words}, got {value!r}."
            + did_you_mean(value, allowed)
        )
