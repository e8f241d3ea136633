"""How commands print: data on stdout, messages on stderr, no word as an instruction."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from optaxctl.host._format import clean as clean

VERSION = 1
"""Of what `-o json` prints; a new one renames or removes something."""

_STYLES = {
    "running": "cyan",
    "finished": "green",
    "stopped": "green",
    "failed": "red",
    "interrupted": "yellow",
    "lost": "yellow",
    "warning": "yellow",
    "ok": "green",
    "note": "yellow",
    "broken": "red",
    "critical": "red",
    "emergency": "bold red",
}


def say(message: object) -> None:
    """Prints a message on stderr, if somebody reads it."""
    with contextlib.suppress(BrokenPipeError):
        typer.echo(clean(str(message)), err=True)


def as_json(**data: Any) -> None:
    """Prints strict JSON in one line; what it lacks, such as NaN, is null."""
    text = json.dumps({"version": VERSION, **data}, default=repr)
    text = json.dumps(json.loads(text, parse_constant=lambda _: None))
    with _read():
        typer.echo(text)


def whole(text: str) -> None:
    """Prints a text of several lines, as it is."""
    with _read():
        typer.echo(text, nl=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints columns; nothing is cut, however narrow the terminal is."""
    lines = [[clean(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    _print(_line(lines[0], widths, "bold"))
    for line in lines[1:]:
        _print(_line(line, widths))


def sheet(title: str | Text | None, rows: Iterable[tuple[str, str | Text]]) -> None:
    """Prints a title, if any, and what belongs to each heading.

    On a terminal a line that is too long goes on below its beginning.
    """
    screen = console()
    room = screen.width if screen.is_terminal else None
    for text in sheet_lines(title, rows, room):
        _print(text)


def sheet_lines(
    title: str | Text | None,
    rows: Iterable[tuple[str, str | Text]],
    room: int | None = None,
) -> list[Text]:
    """Returns what `sheet` prints, in `room` characters; a `Text` is taken as it is."""
    found = [(clean(name), _text(said)) for name, said in rows]
    width = margin(name for name, _ in found)
    head = Text(clean(title), "bold") if isinstance(title, str) else title
    lines = [] if head is None else [head]
    for name, said in found:
        parts = [said]
        if room is not None and room > 2 * width:
            parts = said.wrap(console(), room - width)
        for place, part in enumerate(parts):
            beside = "" if place else name
            gap = " " * (width - cell_len(beside))
            lines.append(Text.assemble((beside, "bold"), gap, part))
    return lines


def margin(names: Iterable[str]) -> int:
    """Returns how many characters the headings of a sheet take."""
    return max((cell_len(clean(name)) for name in names), default=0) + 2


def line(text: str) -> None:
    """Prints a line of text."""
    _print(Text(clean(text)))


def style(word: str) -> str:
    """Returns how a word such as "failed" is shown."""
    return _STYLES.get(word, "")


def _text(said: str | Text) -> Text:
    return Text(clean(said)) if isinstance(said, str) else said


def _line(cells: Sequence[str], widths: Sequence[int], style: str = "") -> Text:
    text = Text()
    for cell, width in zip(cells, widths, strict=True):
        text.append(cell, style or _STYLES.get(cell, ""))
        text.append(" " * (width - cell_len(cell) + 2))
    text.rstrip()
    return text


def console() -> Console:
    """Returns where data goes, with no word as an instruction."""
    return _Data(highlight=False, markup=False, soft_wrap=True)


class _Data(Console):
    def on_broken_pipe(self) -> None:
        raise


def _print(text: Text) -> None:
    with _read():
        console().print(text)


@contextlib.contextmanager
def _read() -> Iterator[None]:
    """Ends the command once whoever reads stdout has seen enough, such as `head`."""
    try:
        yield
    except BrokenPipeError as error:
        # Python flushes it once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from error
