"""`optaxctl lr-find`: a learning-rate range test of the user's loss."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from optaxctl.cli import _files, _screen, _user
from optaxctl.host._format import number

_OTHERS = ("valley", "steep", "slide", "gradient")


def lr_find(name: str, picture: Path | None, *, as_json: bool) -> None:
    """Prints which learning rate to start with, and draws the curve if asked to."""
    function = _user.function(name, takes="no arguments")
    with _user.told():
        arguments = function()
        found = _found(name, arguments)
    if picture is not None:
        from optaxctl.report import lr_find as drawn

        _files.draw(picture, drawn(found))
    rates = {n: getattr(found, n) for n in ("suggestion", "floor", "ceil", *_OTHERS)}
    rates = {n: float(rate) if found.clear else None for n, rate in rates.items()}
    if as_json:
        _screen.as_json(
            clear=bool(found.clear),
            summary=found.summary(),
            picture=picture and str(picture),
            **rates,
        )
        return
    _screen.line(found.summary())
    if found.clear:
        others = ", ".join(f"{n} {number(rates[n])}" for n in _OTHERS)
        _screen.line(f"Other formulas: {others}.")
    if picture is not None:
        _screen.say(f"The picture is {picture}.")


def _found(name: str, arguments: Any) -> Any:
    """Runs the test; what it cannot take is a message."""
    from optaxctl.host.lr_find import lr_find as test

    if not isinstance(arguments, Mapping):
        raise _wrong(f"`{name}` must return arguments of `octl.lr_find` by name.")
    try:
        inspect.signature(test).bind(**arguments)
    except TypeError as error:
        raise _wrong(f"`{name}` does not return the arguments: {error}.") from error
    try:
        return test(**arguments)
    except (TypeError, ValueError) as error:
        if not str(error).startswith("`lr_find("):
            raise
        raise _wrong(str(error)) from error


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="MODULE:FUNCTION")
