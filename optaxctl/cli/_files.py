"""How commands write files."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from optaxctl.cli import _screen
from optaxctl.cli._exit import FAILED

PICTURES = (".png", ".svg", ".pdf")


def replace(path: Path, data: bytes) -> None:
    """Writes a file so that it is there in whole, or as it was."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Says that a file cannot be written, and ends the command."""
    try:
        yield
    except OSError as error:
        _screen.say(f"{path} cannot be written: {error.strerror or error}.")
        raise typer.Exit(FAILED) from error


def draw(path: Path, figure: Any) -> None:
    """Writes a figure of matplotlib in the format that the name ends with."""
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix[1:].lower(), dpi=150)
    with told(path):
        replace(path, data.getvalue())
