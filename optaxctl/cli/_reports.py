"""`optaxctl report` and `compare`: runs as a page, and side by side."""

from collections.abc import Sequence
from pathlib import Path

from optaxctl.cli import _files, _screen
from optaxctl.host.runs import Run
from optaxctl.report import compare as compared, html


def report(run: Run, others: Sequence[Run], path: Path, *, as_json: bool) -> None:
    """Writes the report of a run, compared with others, and prints where it is."""
    text = html(run, *others).encode()
    with _files.told(path):
        _files.replace(path, text)
    if as_json:
        keys = [run.key for run in others]
        _screen.as_json(path=str(path), bytes=len(text), run=run.key, compare=keys)
        return
    _screen.line(str(path))
    _screen.say(f"The report has {len(text) / 1024:,.0f} KiB.")


def compare(runs: Sequence[Run], monitor: str | None, *, as_json: bool) -> None:
    """Prints several runs side by side, and which of them did best."""
    found = compared(runs, monitor=monitor)
    if as_json:
        _screen.as_json(**found.as_json())
        return
    _screen.table(*found.table())
    _screen.line(str(found))
