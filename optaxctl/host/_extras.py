"""Packages that only some users need, imported on use."""

import importlib
from types import ModuleType


class MissingExtra(ModuleNotFoundError):
    """A package of an extra is not installed; the message says how to install it."""


def load(module: str, *, extra: str, who: str) -> ModuleType:
    """Imports a module on behalf of `who`, or names the extra that brings it.

    Raises:
      MissingExtra: If the module's package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A package that is there but misses one of its own is not ours to explain.
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        raise MissingExtra(
            f'{who} needs {module}: pip install "optaxctl[{extra}]".', name=error.name
        ) from error
