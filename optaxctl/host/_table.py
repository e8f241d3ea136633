"""Rows on the host, as one array, in the columns of the run."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

NAN = np.array([np.nan], "<f4").view("<i4")[0]


@dataclass(frozen=True)
class Table:
    """Consecutive steps.

    Attributes:
      columns: Name to place and kind.
      words: int32, shape (steps, columns).
      times: Unix seconds, one for each step.
    """

    columns: dict[str, tuple[int, str]]
    words: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns a column in its own kind."""
        place, kind = self.columns[name]
        words = self.words[:, place]
        return words.view(np.float32) if kind == "f" else words

    def at(self, i: int, name: str) -> float:
        """Returns one value; a float as the shortest decimal that means it."""
        value = self[name][i]
        # float32's 0.1 is not float64's, and nobody wants to read the difference.
        return float(str(value)) if value.dtype == np.float32 else value.item()

    def part(self, first: int, end: int) -> "Table":
        """Returns some of the steps."""
        return Table(self.columns, self.words[first:end], self.times[first:end])

    def rows(self) -> list[tuple[int, float, bytes]]:
        """Returns step, time and bytes of each, for the database."""
        words = np.ascontiguousarray(self.words, "<i4")
        width, data = 4 * words.shape[1], words.tobytes()
        cut = [data[i : i + width] for i in range(0, len(data), width)]
        return list(zip(self["step"].tolist(), self.times.tolist(), cut, strict=True))

    def segments(self) -> list["Table"]:
        """Cuts it where a step is not later than the one before."""
        cuts = (np.flatnonzero(np.diff(self["step"]) <= 0) + 1).tolist()
        bounds = [0, *cuts, len(self)]
        pairs = itertools.pairwise(bounds)
        return [self.part(first, end) for first, end in pairs if end > first]


class Columns:
    """The columns of a run; new ones are added behind the old ones."""

    def __init__(self, known: Iterable[Sequence[str]] = ()):
        self.places = {name: (i, kind) for i, (name, kind) in enumerate(known)}

    def listed(self) -> list[list[str]]:
        """Returns names and kinds, as the database keeps them."""
        return [[name, kind] for name, (_, kind) in self.places.items()]

    def fitted(
        self, names: Sequence[str], kinds: Sequence[str], words: np.ndarray
    ) -> np.ndarray:
        """Returns rows that have other columns in the columns of the run."""
        if tuple(self.places) == tuple(names):
            return words
        for name, kind in zip(names, kinds, strict=True):
            self.places.setdefault(name, (len(self.places), kind))
        whole = self.blank(len(words))
        whole[:, [self.places[name][0] for name in names]] = words
        return whole

    def taken(self, table: Table) -> Table:
        """Returns steps in these columns, of which some may be new."""
        names = list(table.columns)
        kinds = [kind for _, kind in table.columns.values()]
        words = self.fitted(names, kinds, table.words)
        return Table(self.places, words, table.times)

    def table(self, rows: Sequence[tuple[int, float, bytes]]) -> Table:
        """Returns rows of the database, of which old ones may lack a new column."""
        whole = self.blank(len(rows))
        for words, (_, _, row) in zip(whole, rows, strict=True):
            known = np.frombuffer(row, "<i4")
            words[: len(known)] = known
        return Table(self.places, whole, np.array([time for _, time, _ in rows]))

    def blank(self, steps: int) -> np.ndarray:
        """Returns rows in which nothing was measured."""
        absent = [NAN if kind == "f" else 0 for _, kind in self.places.values()]
        return np.tile(np.array(absent, np.int32), (steps, 1))


def prefixes(columns: Iterable[str]) -> list[str]:
    """Returns the prefixes of the control states that a row tells of, "" first."""
    names = list(columns)
    return [at for at in dict.fromkeys(map(owner, names)) if f"{at}stop" in names]


def owner(name: str) -> str:
    """Returns which control state something is of: "", "group/1/", ..."""
    match = re.match(r"group/\d+/", name)
    return match[0] if match else ""
