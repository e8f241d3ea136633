"""`optaxctl replay`: what a configuration would have decided on a recorded run."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from optaxctl.cli import _screen, _sheet, _user
from optaxctl.cli._exit import FAILED
from optaxctl.host import config
from optaxctl.host._format import NOTHING, count, number
from optaxctl.host._recorded import Event, Run


def replay(run: Run, path: Path, *, as_json: bool) -> None:
    """Prints what the run did beside what the configuration would have decided."""
    _user.here()
    # The device is left to whatever trains on it.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        read = config.read(path)
        with console.status(f"Replaying {run.key}."):
            from optaxctl.host._replayed import courses, states

            did, would = courses(run, read, str(path))
    except config.ConfigError as error:
        _user.complain(error)
        raise typer.Exit(FAILED) from error
    except LookupError as error:
        _screen.say(error.args[0])
        raise typer.Exit(FAILED) from error
    if as_json:
        both = {"recorded": did, "replayed": would}
        told = {who: asdict(c) | {"cuts": c.cuts} for who, c in both.items()}
        _screen.as_json(
            run=run.key, config=str(path), open_loop=True, states=states(run), **told
        )
        return
    _screen.table(("", "run", "replay"), _totals(did, would))
    for who, event in _merged(did.events, would.events):
        _screen.line(f"{who:<6}  {_sheet.told(Event(**{'id': 0, **event}))}")
    if (several := states(run)) > 1:
        _screen.say(f"The run has {several} control states; this is the first.")
    _screen.say(
        f"The replay is open loop: it is what {path} would have decided on what "
        f"{run.key} recorded under its own decisions, which does not answer to these."
    )


def _totals(did: Any, would: Any) -> list[tuple[str, str, str]]:
    def row(name: str, say: Any) -> tuple[str, str, str]:
        return name, say(did), say(would)

    return [
        row("stops at step", lambda c: NOTHING if c.stop is None else f"{c.stop:,}"),
        row("steps refused", lambda c: f"{c.refused:,}"),
        row("steps clipped", lambda c: f"{c.clipped:,}"),
        row("rate lowered", lambda c: count(c.cuts, "time")),
        row("rewinds asked", lambda c: f"{c.rewinds:,}"),
    ]


def _merged(
    did: list[dict[str, Any]], would: list[dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Returns the events in order; one that both have is there once."""
    mine, theirs = set(map(_what, did)), set(map(_what, would))
    found = [("both" if _what(e) in theirs else "run", e) for e in did]
    found += [("replay", e) for e in would if _what(e) not in mine]
    return sorted(found, key=lambda pair: pair[1]["step"])


def _what(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["step"], event["kind"], number(event["old"]), number(event["new"])
