"""What other libraries' files say, key by key, and what it is here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from optaxctl.host.config._config import Config, checked
from optaxctl.host.config._messages import hint, shown
from optaxctl.host.config._yaml import Path, Problem, Source, dotted, dump

Verdict = Literal["used", "converted", "refused"]


class Row(NamedTuple):
    """What became of one key of another library's file.

    Attributes:
      place: Its file and line.
      key: Its path there.
      verdict: Whether it is used as it is, converted, or refused.
      words: Where it went, how it was converted, or why it was refused.
    """

    place: str
    key: str
    verdict: Verdict
    words: str

    def __str__(self) -> str:
        link = " because " if self.verdict == "refused" else ": "
        return f"{self.place}: {self.key}: {self.verdict}{link}{self.words}"


class Said(NamedTuple):
    """What a converter makes of one value.

    Attributes:
      verdict: As of a `Row`.
      words: As of a `Row`.
      to: The key of ours that it sets, if any.
      value: What it sets it to.
      wrong: Whether the value is none there either.
    """

    verdict: Verdict
    words: str
    to: str = ""
    value: Any = None
    wrong: bool = False


Convert = Callable[[Any], Said]


@dataclass(frozen=True)
class Foreign:
    """Another library's file, read.

    Attributes:
      rows: What became of each of its keys, in its order.
      values: What it is here, as plain values.
      source: The same, with the places of the keys they came from.
      problems: Values that its own library would not take.
    """

    rows: tuple[Row, ...]
    values: Mapping[str, Any]
    source: Source
    problems: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows)) + "\n"

    def config(self) -> Config:
        """Returns what it is here, checked.

        Raises:
          ConfigError: With `problems`, and every value that no section takes, and its
            place there.
        """
        return checked(self.source, [*self.problems])

    def as_yaml(self) -> str:
        """Returns what it is here, as YAML."""
        return dump(self.values)


class Draft:
    """Gathers rows and values while a file is read."""

    def __init__(self, source: Source):
        self.theirs, self.rows = source, list[Row]()
        self.problems: list[Problem] = []
        self.ours = Source({}, {(): source.places[()]})

    def said(self, path: Path, said: Said) -> None:
        """Notes what became of a key, and sets ours if there is one."""
        place, key = self.theirs.place(path), dotted(path)
        self.rows.append(Row(place, key, said.verdict, said.words))
        if said.wrong:
            self.problems.append(Problem(place, key, said.words))
        if said.to:
            self.put(said.to, said.value, place)

    def put(self, to: str, value: Any, place: str) -> None:
        """Sets a key of ours."""
        *way, last = to.split(".")
        inner = self.ours.data
        for i, name in enumerate(way, start=1):
            inner = inner.setdefault(name, {})
            self.ours.places.setdefault(tuple(way[:i]), place)
        inner[last] = value
        self.ours.places[tuple(to.split("."))] = place

    def block(
        self, path: Path, values: Mapping[str, Any], known: Mapping[str, Convert]
    ) -> None:
        """Reads the keys of one block by their converters."""
        for key, value in values.items():
            if key in known:
                self.said((*path, key), known[key](value))
            else:
                word = f"there is no such key there.{hint(key, known)}"
                self.said((*path, key), Said("refused", word))

    def done(self) -> Foreign:
        """Returns what was read."""
        rows, problems = tuple(self.rows), tuple(self.problems)
        return Foreign(rows, self.ours.data, self.ours, problems)


def used(to: str, word: str = "") -> Convert:
    """Takes a value as it is."""
    return lambda value: Said(
        "used", f"`{to}: {shown(value)}`{word and ', ' + word}.", to, value
    )


def converted(to: str, word: str) -> Convert:
    """Takes a value as it is, though it means something else here."""
    return lambda value: Said(
        "converted", f"`{to}: {shown(value)}`; {word}.", to, value
    )


def refused(word: str) -> Convert:
    """Takes no value."""
    return lambda value: Said("refused", f"{word}.")


def checks(value: Any, every: Any) -> Any:
    """Returns how many validations there are in so many iterations, rounded up."""
    if not (isinstance(value, int) and isinstance(every, int)) or every <= 0:
        return None
    return max(1, -(-value // every))


def mappings(data: Mapping[str, Any], *path: str) -> Iterator[tuple[Path, Any]]:
    """Yields every tail of `path` that leads to a mapping, the longest first."""
    for start in range(len(path)):
        inner: Any = data
        for key in path[start:]:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            yield path[start:], inner
