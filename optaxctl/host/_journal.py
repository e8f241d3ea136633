"""What the loop hands to a history, and takes from it, if there is one."""

import warnings
from dataclasses import dataclass
from typing import Any

import jax

from optaxctl.host._epoch import Epoch
from optaxctl.host._obey import obey
from optaxctl.host.history import History
from optaxctl.host.runs import UnknownRun
from optaxctl.views._row import Columns, Row, calls, row
from optaxctl.views._state import ControlState, states


@dataclass(frozen=True)
class Journal:
    """A history, or none, which takes everything and keeps nothing."""

    history: History | None

    def stepped(self, carry: Any) -> None:
        """Records the step that has made a carry."""
        if self.history is not None:
            found = [_bare(state) for state in states(carry)]
            columns, words = _row(found)
            columns = Columns(columns.names, columns.kinds, calls(found))
            self.history.write(Row(columns, words))

    def obeyed(self, carry: Any) -> tuple[Any, bool]:
        """Does what the user has asked for; says whether that was to stop."""
        if self.history is None:
            return carry, False
        return obey(carry, self.history)

    def evaluated(self, record: Epoch) -> None:
        """Records an epoch and what its evaluation found."""
        if self.history is not None:
            self.history.evaluated(record.step, **record.metrics)
            self.history.epoch(record.number, record.seconds)

    def happened(self, step: int, kind: str, reason: str, outcome: str = "") -> None:
        """Records something critical that the loop has done."""
        if self.history is not None:
            self.history.event(
                step,
                kind,
                actor="loop",
                severity="critical",
                reason=reason,
                outcome=outcome,
            )

    def ends(self, record: Epoch) -> None:
        """Records why the run ends here."""
        if self.history is not None:
            status = "stopped" if record.stopped else "finished"
            self.history.ending(status, record.reason)

    def kept(self) -> str | None:
        """Writes everything so far; returns the key of the run, for a checkpoint."""
        if self.history is None:
            return None
        self.history.flush()
        return self.history.key

    def go_on(self, key: str | None) -> None:
        """Goes on with the record of the run that a checkpoint is of."""
        if self.history is None or not key:
            return
        try:
            self.history.go_on(key)
        except UnknownRun as error:
            warnings.warn(f"{error} A new one is recorded from here on.", stacklevel=5)


@jax.jit
def _row(found: list[ControlState]) -> Row:
    return row(found)


def _bare(state: ControlState) -> ControlState:
    """Returns the packed part alone: every leaf more costs time in a call."""
    return ControlState(state.layout, *state.arrays(), None)
