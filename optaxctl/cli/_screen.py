"""How commands print: data on stdout, messages on stderr, no word as an instruction."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

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
    "critical": "red",
    "emergency": "bold red",
}


def clean(text: str) -> str:
    """Returns one line that a terminal shows and does not obey."""
    kept = (c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return "".join(kept)


def say(message: object) -> None:
    """Prints a message on stderr."""
    typer.echo(clean(str(message)), err=True)


def as_json(**data: Any) -> None:
    """Prints strict JSON in one line; what it lacks, such as NaN, is null."""
    text = json.dumps({"version": VERSION, **data}, default=repr)
    typer.echo(json.dumps(json.loads(text, parse_constant=lambda _: None)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints columns; nothing is cut, however narrow the terminal is."""
    lines = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(head, *lines, strict=True)]
    _print(_line(head, widths, "bold"))
    for line in lines:
        _print(_line(line, widths))


def sheet(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Prints a title, and what belongs to each heading."""
    found = [(clean(name), clean(text)) for name, text in rows]
    width = max((cell_len(name) for name, _ in found), default=0)
    _print(Text(clean(title), "bold"))
    for name, text in found:
        _print(Text.assemble((name, "bold"), " " * (width - cell_len(name) + 2), text))


def line(text: str) -> None:
    """Prints a line of text."""
    _print(Text(clean(text)))


def _line(cells: Sequence[str], widths: Sequence[int], style: str = "") -> Text:
    text = Text()
    for cell, width in zip(cells, widths, strict=True):
        text.append(cell, style or _STYLES.get(cell, ""))
        text.append(" " * (width - cell_len(cell) + 2))
    text.rstrip()
    return text


def _print(text: Text) -> None:
    Console(highlight=False, markup=False, soft_wrap=True).print(text)
