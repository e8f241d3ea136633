"""The words of a row, once its step has run."""

import numpy as np

from optaxctl.views._ring import Rows
from optaxctl.views._row import Row


class LostRow(Exception):
    """A row that cannot be recorded; the message says why."""


def fetched(row: Row) -> np.ndarray:
    """Waits for a row, or for several that a scan has stacked.

    Returns:
      int32, shape (steps, columns); of a ring those that are there.

    Raises:
      LostRow: If its step failed, or it holds a step twice.
    """
    try:
        words = np.asarray(row.words)
    except RuntimeError as error:  # the step says so too where it is called
        raise LostRow(f"A row of the history was lost: {error}") from error
    words = words.reshape(-1, words.shape[-1])
    step = row.columns.names.index("step")
    if isinstance(row, Rows):
        words = words[words[:, step] > 0]
    if (np.diff(words[:, step]) <= 0).any():
        raise LostRow(
            "A row that holds several steps holds one of them twice, so it was not "
            "recorded. Under `vmap` every lane needs a `History` of its own."
        )
    return words
