"""What is the user's: the function that a command calls, and what goes wrong in it."""

import functools
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import typer

from optaxctl._core.closest import did_you_mean
from optaxctl.cli import _screen
from optaxctl.cli._exit import FAILED, INTERRUPTED
from optaxctl.host._extras import MissingExtra
from optaxctl.host.config import ConfigError

# Through these ways leads to what the user wrote.
_OURS = (str(Path(__file__).parents[1]), importlib.__file__, "<frozen importlib")


def here() -> None:
    """Lets modules of the current directory be imported, as `python` does."""
    if (directory := os.getcwd()) not in sys.path:
        sys.path.insert(0, directory)


def function(name: str, *arguments: Any, takes: str) -> Callable[..., Any]:
    """Imports what is named as `module:function`.

    Args:
      name: Of the function.
      *arguments: What it is to be called with.
      takes: These, in words.

    Raises:
      typer.BadParameter: If there is no such module, or nothing callable in it, or if
        that does not take the arguments.
    """
    module, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise _wrong(f"{name!r} is not of the form `module:function`.")
    here()
    with told():
        if not _is_there(module):
            raise _wrong(f"There is no module `{module}`, here or installed.")
        found = importlib.import_module(module)
    try:
        found = functools.reduce(getattr, path.split("."), found)
    except AttributeError as error:
        known = [n for n, value in vars(found).items() if callable(value)]
        hint = did_you_mean(path, known)
        raise _wrong(f"`{module}` has no `{path}`.{hint}") from error
    if not callable(found):
        raise _wrong(f"`{name}` is no function.")
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError as error:
        raise _wrong(f"`{name}` must take {takes}: {error}.") from error
    except ValueError:  # it is written in C, and does not tell
        pass
    return found


@contextmanager
def told(again: str = "") -> Iterator[None]:
    """Shows what goes wrong in the user's code or configuration, and ends the command.

    Args:
      again: What to do after an interruption.
    """
    try:
        with traced():
            yield
    except ConfigError as error:
        complain(error)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        _screen.say(f"Interrupted.{again and ' ' + again}")
        raise typer.Exit(INTERRUPTED) from error
    except SystemExit as error:
        # Its status would be taken for one of ours.
        text = isinstance(error.code, str)
        _screen.say(error.code if text else f"It exited with status {error.code}.")
        raise typer.Exit(FAILED) from error


@contextmanager
def traced() -> Iterator[None]:
    """Shows what the user's code raises from where that begins, and ends the command.

    What is said in sentences, as by a configuration, passes.
    """
    try:
        yield
    except (ConfigError, MissingExtra, typer.BadParameter, typer.Exit):
        raise
    except Exception as error:
        traceback.print_exception(type(error), error, _theirs(error))
        raise typer.Exit(FAILED) from error


def complain(error: ConfigError) -> None:
    """Prints what is wrong in a configuration, one line each."""
    for problem in error.problems:
        _screen.say(problem)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it has no spec, as `__main__`
        return module in sys.modules
    except ModuleNotFoundError as error:
        # A package on the way that misses a module of another is not ours to explain.
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        return False


def _theirs(error: Exception) -> TracebackType | None:
    """Returns the way from the user's first line; all of it if the fault is ours."""
    found = error.__traceback__
    while found and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    # What cannot be parsed has no line that ran, and names its own.
    return found or (None if isinstance(error, SyntaxError) else error.__traceback__)


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="MODULE:FUNCTION")
