"""YAML as its version 1.2 reads it, with the place of every key.

On top of PyYAML, whose 1.1 takes `on` for true, `1:30` for 90 and `1e-5` for text.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from optaxctl.host._extras import load

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2, section 10.3, and the first letters of what it reads.
_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class Problem(NamedTuple):
    """What is wrong in a configuration, and where.

    Attributes:
      place: A file and a line, an environment variable, or another source.
      key: The key, such as `lr.updates`; empty for the whole.
      message: What is wrong, and what is allowed.
    """

    place: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.key and self.key + ': '}{self.message}"


class ConfigError(ValueError):
    """A configuration that cannot be used; the message lists all that is wrong.

    Attributes:
      problems: Each with its place.
    """

    def __init__(self, *problems: Problem):
        self.problems = tuple(sorted(problems, key=_line))
        super().__init__("\n".join(map(str, self.problems)))


def _line(problem: Problem) -> tuple[str, int]:
    name, _, line = problem.place.rpartition(":")
    return (name, int(line)) if line.isdecimal() else (problem.place, 0)


class Source(NamedTuple):
    """Plain values, and where each of them was written.

    Attributes:
      data: The values; None stands for one that cannot be read.
      places: Where, by path.
      unread: The paths of those that cannot be read.
    """

    data: dict[str, Any]
    places: dict[Path, str]
    unread: frozenset[Path] = frozenset()

    def place(self, path: Path) -> str:
        """Returns where a path was written, or what it would have been part of."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def dotted(path: Path) -> str:
    """Returns a path as people write it: `lr.updates`."""
    return ".".join(map(str, path))


def parse(text: str, name: str) -> tuple[Source, list[Problem]]:
    """Reads one YAML document whose top is keys and values, and what is wrong in it."""
    reader = _Reader(name)
    data = reader.read(text)
    if not isinstance(data, dict | None):
        message = "A configuration is keys and values, such as `learning_rate: 3e-4`."
        reader.problems.append(Problem(reader.places[()], "", message))
        data = None
    places = reader.places | {(): name}
    return Source(data or {}, places, frozenset(reader.unread)), reader.problems


def scalar(text: str, name: str) -> tuple[Any, list[Problem]]:
    """Reads one value, as an environment variable holds it, and what is wrong in it."""
    reader = _Reader(name, lines=False)
    return reader.read(text), reader.problems


def dump(data: Mapping[str, Any]) -> str:
    """Writes what `parse` reads as the same values."""
    yaml = load("yaml", extra="cli", who="`optaxctl.config`")

    class Dumper(yaml.SafeDumper):
        yaml_implicit_resolvers: ClassVar[Any] = {}

        def ignore_aliases(self, data: Any) -> bool:
            return True

    _resolve(Dumper)
    return yaml.dump(dict(data), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _resolve(of: Any) -> None:
    for tag, pattern, first in _CORE:
        of.add_implicit_resolver(_TAG + tag, re.compile(f"(?:{pattern})\\Z"), first)


class _Reader:
    """Turns one text into values, noting every place and problem on the way."""

    def __init__(self, name: str, lines: bool = True):
        self.name, self.lines = name, lines
        self.places: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self.unread: set[Path] = set()
        self.yaml = load("yaml", extra="cli", who="`optaxctl.config`")

    def read(self, text: str) -> Any:
        try:
            node = self._composed(text)
            return self._value(node, ()) if node else None
        except self.yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._note(line, (), f"The character {chr(error.character)!r} is not YAML.")
        except self.yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = ", ".join(filter(None, (error.context, error.problem)))
            self._note(mark.line + 1 if mark else 1, (), f"This is no YAML: {said}.")
        except RecursionError:
            self._note(1, (), "It is nested too deeply.")
        return None

    def _composed(self, text: str) -> Any:
        yaml = self.yaml

        class Loader(yaml.SafeLoader):
            yaml_implicit_resolvers: ClassVar[Any] = {}

            def compose_node(self, parent: Any, index: Any) -> Any:
                # Each value has one place, and a small file stays small.
                if self.check_event(yaml.AliasEvent):
                    mark, word = self.peek_event().start_mark, "aliases are not read"
                    raise yaml.composer.ComposerError(None, None, word, mark)
                return super().compose_node(parent, index)

        _resolve(Loader)
        loader = Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()

    def _note(self, line: int, path: Path, message: str) -> None:
        self.problems.append(Problem(self._where(line), dotted(path), message))

    def _where(self, line: int) -> str:
        return f"{self.name}:{line}" if self.lines else self.name

    def _value(self, node: Any, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.places.setdefault(path, self._where(line))
        if isinstance(node, self.yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, self.yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._value(n, (*path, i)) for i, n in enumerate(node.value)]
        try:
            return _SCALARS[node.tag](node.value)
        except KeyError:
            self._note(line, path, f"The tag {node.tag} is not read.")
        except (TypeError, ValueError, OverflowError):
            self._note(line, path, f"{node.value!r:.60} cannot be read as a number.")
        self.unread.add(path)
        return None

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, self.yaml.ScalarNode):
                self._note(line, path, "A key must be a word.")
                continue
            # `on:` and `null:` are words here, whatever they would be as values.
            here = (*path, key.value)
            if key.value in values:
                first = self.places[here]
                self._note(line, here, f"is there twice; first at {first}.")
                continue
            self.places[here] = self._where(line)
            values[key.value] = self._value(value, here)
        return values


def _integer(text: str) -> int:
    return int(text, 0 if text[:2] in ("0o", "0x") else 10)


def _float(text: str) -> float:
    value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if abs(value) == float("inf") and "inf" not in text.lower():
        raise OverflowError
    return value


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


_SCALARS = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": _bool,
    _TAG + "int": _integer,
    _TAG + "float": _float,
    _TAG + "str": str,
}
