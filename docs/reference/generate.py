"""Writes index.md, the list of public names, from their docstrings.

Run `python docs/reference/generate.py` after changing a name or its first line.
"""

import inspect
import pathlib
import types
from typing import Any

import optaxctl as octl

PAGE = pathlib.Path(__file__).with_name("index.md")

HEAD = """# Reference

Every public name with the first line of its docstring. `help(octl.stop.patience)` has
the rest: the equation, every argument, an example that runs. The schedules have
[a page of their own](schedules.md), with formulas, pictures and their names in other
libraries. This page is written by `generate.py` beside it.
"""

# The place of a name decides its section, so that a new name needs no entry here.
SECTIONS = {
    "_core.controllers": "The shape",
    "_core.decisions": "The shape",
    "_core.flags": "The shape",
    "_core": "Combinators",
    "views._best": "From outside the step",
    "views._observe": "From outside the step",
    "views._read": "From outside the step",
    "views": "Views",
    "host": "On the host",
}


def page() -> str:
    """Returns the text of index.md."""
    names = [name for name in dir(octl) if not name.startswith("_")]
    values = {name: getattr(octl, name) for name in names}
    modules = {n: v for n, v in values.items() if isinstance(v, types.ModuleType)}
    parts = [HEAD]
    for section in dict.fromkeys(SECTIONS.values()):
        named = {n: v for n, v in values.items() if n not in modules}
        rows = [_row(n, v) for n, v in named.items() if _section(v) == section]
        parts.append(f"\n## {section}\n\n| | |\n|---|---|\n{''.join(rows)}")
    for name, module in modules.items():
        rows = [_row(f"{name}.{n}", v) for n, v in sorted(members(module).items())]
        parts.append(
            f"\n## `octl.{name}`\n\n{_summary(module)}\n\n"
            f"| | |\n|---|---|\n{''.join(rows)}"
        )
    return "".join(parts)


def members(module: types.ModuleType) -> dict[str, Any]:
    """Returns what a module defines for others, in it or in files of its own."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith(module.__name__)
    }


def _row(name: str, value: Any) -> str:
    return f"| `{name}` | {_summary(value)} |\n"


def _summary(value: Any) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0]


def _section(value: Any) -> str:
    home = value.__module__.removeprefix("optaxctl.")
    return next(title for prefix, title in SECTIONS.items() if home.startswith(prefix))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
