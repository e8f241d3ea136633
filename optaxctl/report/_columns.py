"""All columns of a run in one pass, where `Run.series` would take one for each."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np

from optaxctl.host import _database

if TYPE_CHECKING:
    from optaxctl.host.runs import Run

CHUNK = 20_000


def columns(run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the steps and the values of all that is recorded in every step, by name.

    A row that is shorter than the columns was written before the last of them were.
    """
    width = len(run.columns)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with _database.reading(run.path) as db:
        rows = _database.rows(db, run.id)
        while chunk := list(islice(rows, CHUNK)):
            for length, same in groupby(chunk, lambda row: len(row[2]) // 4):
                steps, _, words = zip(*same, strict=True)
                table = np.frombuffer(b"".join(words), "<i4").reshape(-1, length)
                parts.append((np.array(steps, np.int64), table[:, :width]))
    found = {}
    for place, (name, kind) in enumerate(run.columns):
        own = [(steps, table) for steps, table in parts if table.shape[1] > place]
        if own:
            words = np.concatenate([table[:, place] for _, table in own])
            values = words if kind == "i" else words.view("<f4")
            steps = np.concatenate([steps for steps, _ in own])
            found[name] = (steps, values.astype(np.float64))
    return found
