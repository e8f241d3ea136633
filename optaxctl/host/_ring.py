"""What is new of the rows that a control state keeps: each time most are known."""

from collections.abc import Callable
from typing import NamedTuple

from optaxctl.host._table import Table


class News(NamedTuple):
    """What a ring has that is not recorded.

    Attributes:
      table: The steps that are new; may be empty.
      after: The step before them; what is recorded later is of a former try.
      lost: How many steps are missing before it and in it.
    """

    table: Table
    after: int
    lost: int


class Ring:
    """Compares the rows of a ring with those that it had the last time."""

    def __init__(self) -> None:
        self._seen: dict[int, bytes] = {}

    def news(
        self, table: Table, last: int, recorded: Callable[[int], dict[int, bytes]]
    ) -> News:
        """Returns what is new.

        A run may have gone back and come further than before, so it is the words of a
        step that tell whether it is known.

        Args:
          table: What the ring holds.
          last: The last step that is recorded, or 0.
          recorded: Returns what is recorded from a step on; asked if need be.
        """
        rows = table.rows()
        first = rows[0][0]
        known = self._seen
        if first not in known:
            known = recorded(first) if first <= last else {}
        self._seen = {step: words for step, _, words in rows}
        same = 0
        while same < len(rows) and known.get(rows[same][0]) == rows[same][2]:
            same += 1
        after = rows[same - 1][0] if same else first - 1
        before = 0 if same else max(after - last, 0)
        within = rows[-1][0] - first + 1 - len(rows)  # of two rings there may be two
        return News(table.part(same, len(rows)), after, before + within)
