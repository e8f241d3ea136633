"""What the factories take, read from their source: no jax, and no second list.

The keys of a section are the arguments of a factory. The source is there wherever the
package is, so it is parsed, and what it says is what will be called.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal, NamedTuple, Union

Nesting = Literal["one", "list", "names"]


class Function(str):
    """A function of the user's, written as `module:function`."""

    PATTERN = r"^[\w.]+:[\w.]+$"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        text = core_schema.str_schema(strict=True, pattern=cls.PATTERN)
        return core_schema.no_info_after_validator_function(cls, text)


class Key(NamedTuple):
    """One key of a section: an argument of the factory behind it.

    Attributes:
      name: The name of the argument.
      type: What it takes.
      required: Whether it must be there.
      default: What holds without it; None also where the factory works it out.
      meaning: Its line in the docstring of the factory.
      nested: Whether it holds another rule, a list of rules, or rules by name.
      spread: Whether the factory takes it as `*arguments` or `**arguments`.
    """

    name: str
    type: Any
    required: bool
    default: Any
    meaning: str
    nested: Nesting | None = None
    spread: bool = False


class Factory(NamedTuple):
    """A public factory: where it is, what it takes and what it is for."""

    module: str
    name: str
    keys: tuple[Key, ...]
    summary: str


@functools.cache
def family(name: str) -> dict[str, str]:
    """Returns the modules of a family's public functions, by their names."""
    found = {}
    for node in tree(f"optaxctl.{name}.__init__").body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names if alias.name.islower()]
            found |= dict.fromkeys(names, node.module)
    return found


@functools.cache
def factory(module: str, name: str) -> Factory:
    """Returns what a factory takes: a function, or a class by its `__init__`."""
    node = _definition(module, name)
    doc = ast.get_docstring(node) or ""
    meanings = _meanings(doc)
    if isinstance(node, ast.ClassDef):
        init = [n for n in node.body if getattr(n, "name", "") == "__init__"]
        if not init:  # a dataclass
            found = [n for n in node.body if isinstance(n, ast.AnnAssign)]
            arguments = [
                (ast.unparse(n.target), n.annotation, n.value, "") for n in found
            ]
            keys = _keys(module, arguments, meanings)
            return Factory(module, name, keys, doc.partition("\n")[0])
        node = init[0]
    assert isinstance(node, ast.FunctionDef)
    keys = _keys(module, _arguments(node), meanings)
    return Factory(module, name, keys, doc.partition("\n")[0])


Argument = tuple[str, ast.expr | None, ast.expr | None, str]


def _arguments(node: ast.FunctionDef) -> list[Argument]:
    """Returns name, annotation, default and stars of every argument."""
    plain = [*node.args.posonlyargs, *node.args.args]
    none: list[ast.expr | None] = [None] * len(plain)
    defaults = [*none, *node.args.defaults][-len(plain) :] if plain else []
    pairs = [*zip(plain, defaults, strict=True)]
    pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    found = [(a.arg, a.annotation, d, "") for a, d in pairs if a.arg != "self"]
    for stars, extra in (("*", node.args.vararg), ("**", node.args.kwarg)):
        if extra:
            found.append((extra.arg, extra.annotation, None, stars))
    return found


def _keys(
    module: str, arguments: Sequence[Argument], meanings: Mapping[str, str]
) -> tuple[Key, ...]:
    keys = []
    for name, annotation, default, stars in arguments:
        kind = _type(annotation, module)
        nested: Nesting | None = None
        if name == "schedule" or kind is _Rule:
            nested, kind = "one", Any
        elif kind == tuple[_Rule, ...]:
            nested, kind = "list", Any
        if stars == "*":
            nested, kind = nested and "list", tuple[kind, ...]
        elif stars == "**":
            nested = nested and "names"
        if kind is not None:
            required = default is None and stars != "*"
            known = () if stars == "*" else default and _literal(default)
            word = meanings.get(stars + name, "")
            keys.append(Key(name, kind, required, known, word, nested, bool(stars)))
    return tuple(keys)


class _Rule:
    """Stands for a schedule or a controller, which a nested section describes."""


_PLAIN: dict[str, Any] = {
    "AnySchedule": _Rule,
    "Controller": _Rule,
    "Path": str,
    "Schedule": _Rule,
    "bool": bool,
    "float": float,
    "int": int,
    "str": str,
}


def _type(node: ast.expr | None, module: str) -> Any:
    """Returns what an annotation means, or None if no file can hold it."""
    match node:
        case ast.Name(name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.Constant(None):
            return type(None)
        case ast.Name(name):
            return _type(*_alias(name, module))
        case ast.BinOp(left, ast.BitOr(), right):
            kinds = [_type(left, module), _type(right, module)]
            return None if None in kinds else Union[tuple(kinds)]  # noqa: UP007
        case ast.Subscript(ast.Name("Literal"), values):
            given = ast.literal_eval(values)
            return Literal[given if isinstance(given, tuple) else (given,)]
        case ast.Subscript(ast.Name("Sequence"), of):
            return tuple[_type(of, module), ...]
        case ast.Subscript(ast.Name("Mapping"), _):
            return dict[str, Any]
        case ast.Subscript(ast.Name("Callable"), _):
            return Function
    return None


def _alias(name: str, module: str) -> tuple[ast.expr | None, str]:
    """Returns what a name in an annotation stands for, and in which module."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value, module
        if isinstance(node, ast.ImportFrom) and node.module:
            known = [a.name for a in node.names if (a.asname or a.name) == name]
            if known and node.module.startswith("optaxctl."):
                return _alias(known[0], node.module)
    return None, module


def _literal(node: ast.expr) -> Any:
    if ast.unparse(node) in ("float('inf')", "-float('inf')"):
        return float(ast.unparse(node).replace("float('inf')", "inf"))
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _definition(module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    # The last one, since overloads stand in front of it.
    return [
        node
        for node in tree(module).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
    ][-1]


def _meanings(doc: str) -> dict[str, str]:
    """Returns what a docstring says of each argument or attribute."""
    part = re.search(r"^(?:Args|Attributes):\n((?:(?:  .*)?\n)*)", doc + "\n", re.M)
    found = re.findall(
        r"^  (\*{0,2}\w+): (.*(?:\n    .*)*)", part[1] if part else "", re.M
    )
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


@functools.cache
def tree(module: str) -> ast.Module:
    """Returns the source of a module of this package, parsed."""
    *path, last = module.split(".")[1:]
    file = files("optaxctl").joinpath(*path, f"{last}.py")
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(function: Function) -> Callable[..., Any]:
    """Imports what the user named as `module:function`."""
    module, _, name = function.partition(":")
    return functools.reduce(getattr, name.split("."), import_module(module))
