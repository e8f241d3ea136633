"""`optaxctl set` and `stop`: a command for a run, and what became of it."""

import sqlite3
import time
from typing import Any

import typer

from optaxctl.cli import _screen
from optaxctl.cli._exit import FAILED
from optaxctl.host import _commands
from optaxctl.host._format import duration
from optaxctl.host.runs import Project, Run

_EVERY = 0.2  # seconds between two looks for the answer


def parsed(setting: str) -> dict[str, float]:
    """Reads `NAME=VALUE`.

    Raises:
      ValueError: If it is no such thing, or nothing that can be set.
    """
    name, equals, text = setting.partition("=")
    if not equals:
        raise ValueError(f"must be such as lr_scale=0.5, got {setting!r}.")
    try:
        value: Any = float(text)
    except ValueError:
        value = text
    if (name := name.strip()) == "stop":
        raise ValueError("`optaxctl stop RUN` stops a run.")
    _commands.check({name: value})
    return {name: value}


def tell(
    project: Project, key: str, what: dict[str, Any], wait: float, *, as_json: bool
) -> None:
    """Leaves a command for a run, and prints what its loop has made of it."""
    run = project.run(key)
    if run.status != "running":
        _screen.say(
            f"{run.key} is not running ({run.status}), so it takes no commands. "
            "Nothing was written."
        )
        raise typer.Exit(FAILED)
    try:
        number = run.ask(**what)
    except sqlite3.Error as error:
        _screen.say(f"The command cannot be written to {project.path}: {error}.")
        raise typer.Exit(FAILED) from error
    left = f"Command {number} is left for {run.key}"
    if wait:
        _screen.say(f"{left}; waiting up to {duration(wait)} for its loop.")
    try:
        answer = _answer(project, run, number, wait)
    except KeyboardInterrupt:
        _screen.say(f"{left}, and its loop may still carry it out.")
        raise
    step, outcome = answer["acknowledged_step"], answer["outcome"]
    if as_json:
        _screen.as_json(
            run=run.key, command=number, what=what, step=step, outcome=outcome
        )
    elif outcome is not None:
        _screen.line(f"step {step:,}: {outcome}")
    if outcome is None:
        now = project.run(run.key).status
        why = f"has not looked in {duration(wait)}" if wait else "has yet to look"
        _screen.say(
            f"{left}, and its loop {why}."
            if now == "running"
            else f"{run.key} has ended ({now}) and did not take it up."
        )
    if (outcome is None and wait) or (outcome or "").startswith("Refused"):
        raise typer.Exit(FAILED)


def _answer(project: Project, run: Run, number: int, wait: float) -> dict[str, Any]:
    """Returns the command once it is acknowledged, the run has ended or time is up."""
    until = time.monotonic() + wait
    while True:
        # In this order, what it did just before it ended is not missed.
        ended = project.run(run.key).status != "running"
        answer = next(c for c in run.commands() if c["id"] == number)
        over = ended or time.monotonic() >= until
        if over or answer["outcome"] is not None:
            return answer
        time.sleep(_EVERY)
