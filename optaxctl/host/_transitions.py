"""What happened, found in consecutive rows: one event for each transition."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from optaxctl._core.flags import Alarm, bits, names
from optaxctl.host._events import Event, Teller
from optaxctl.host._table import Table, owner

QUIET = 50
"""Steps without a refusal, a clip or an alarm after which the next one is news."""


@dataclass
class _Episode:
    """Something that lasts: its event, and how it goes on."""

    event: Event
    last: int
    steps: int = 0
    most: float = 0.0


class Transitions:
    """Finds in the rows of a run what began, and what has ended.

    What lasts is one event, told when it begins; it is told again when it has ended,
    with its outcome. A change of the rate or a knob lasts while it goes on in every
    step.

    Args:
      calls: How the controllers were made, by name with the prefix of their columns.
      prefix: Of the columns, where a control state is not the first.
    """

    def __init__(self, calls: Mapping[str, str], prefix: str = ""):
        self._calls, self._prefix = calls, prefix
        self._tell = Teller(_of(calls, prefix), prefix)
        self._stopped = 0  # reasons to stop that are told already
        self._open: dict[str, _Episode] = {}
        self._last: np.ndarray | None = None

    def update(self, now: Table) -> tuple[list[Event], list[Event]]:
        """Returns the events that began in these steps, and those that ended."""
        last = self._last
        if last is None or last.shape[1] != now.words.shape[1]:
            last = now.words[:1]
        self._last = now.words[-1:].copy()
        old = replace(now, words=np.concatenate([last, now.words[:-1]]))
        begun, ended = [], []
        for is_new, event in self._all(now, old):
            (begun if is_new else ended).append(event)
        return begun, ended

    def anew(self) -> "Transitions":
        """Returns the same before any row."""
        return Transitions(self._calls, self._prefix)

    def close(self) -> list[Event]:
        """Returns the events that lasted until the end of the run."""
        return [self._end(key) for key in list(self._open)]

    def _all(self, now: Table, old: Table) -> Iterator[tuple[bool, Event]]:
        tell, see = self._tell, lambda name: now[self._prefix + name]
        alarms = see("alarms")
        up = {names(Alarm, b)[0]: b for b in bits(int(np.bitwise_or.reduce(alarms)))}
        still = {key[6:] for key in self._open if key.startswith("alarm/")}
        for name in sorted(still | up.keys()):
            bit = up.get(name, 0)
            make = lambda i, bit=bit: tell.alarm(now, i, bit)
            yield from self._lasting(f"alarm/{name}", alarms & bit != 0, now, make)
        make = lambda i: tell.refusal(now, i)
        yield from self._lasting("refused", see("refused") != 0, now, make)
        clipped, make = see("clipped") != 0, lambda i: tell.clip(now, i)
        with np.errstate(all="ignore"):
            excess = see("grad_norm") / see("clip_norm")
        yield from self._lasting("clipped", clipped, now, make, excess=excess)
        for key, moved, make in self._moves(now, old):
            yield from self._lasting(key, moved, now, make, quiet=1)
        for i in np.flatnonzero(see("rewind")).tolist():
            yield True, tell.rewind(now, i)
        for i in np.flatnonzero(see("stop") & ~self._stopped).tolist():
            if new := int(see("stop")[i]) & ~self._stopped:
                self._stopped |= new
                yield True, tell.stop(now, i, new)

    def _moves(
        self, now: Table, old: Table
    ) -> Iterator[tuple[str, np.ndarray, Callable[[int], Event]]]:
        """Yields who moved the rate, and which knob was moved, and when."""
        tell, gauge = self._tell, f"{self._prefix}gauge/"
        total = self._changed(self._prefix + "lr_scale", now, old)
        unexplained = total.copy()
        for name in now.columns:
            path, _, last = name.removeprefix(gauge).rpartition("/")
            if name.startswith(gauge) and last in ("scale", "cut"):
                moved = total & self._changed(name, now, old)
                unexplained &= ~moved
                make = lambda i, path=path: tell.rate(now, old, i, path)
                yield f"lr_scale/{path}", moved, make
        make = lambda i: tell.rate(now, old, i, None)
        yield "lr_scale", unexplained, make
        for name in now.columns:
            if name.startswith(above := f"{self._prefix}knob/"):
                knob = name.removeprefix(above)
                make = lambda i, knob=knob: tell.knob(now, old, i, knob)
                yield name, self._changed(name, now, old), make

    def _changed(self, name: str, now: Table, old: Table) -> np.ndarray:
        # Bits, as a NaN differs from itself.
        place, _ = now.columns[name]
        return now.words[:, place] != old.words[:, place]

    def _lasting(
        self,
        key: str,
        active: np.ndarray,
        now: Table,
        make: Callable[[int], Event],
        *,
        quiet: int = QUIET,
        excess: np.ndarray | None = None,
    ) -> Iterator[tuple[bool, Event]]:
        where = np.flatnonzero(active)
        if not where.size and key not in self._open:
            return
        steps = now["step"]
        gaps = np.flatnonzero(np.diff(steps[where]) > quiet) + 1
        for group in np.split(where, gaps) if where.size else ():
            first, last = steps[group[[0, -1]]].tolist()
            if key in self._open and first - self._open[key].last > quiet:
                yield False, self._end(key)
            if key not in self._open:
                self._open[key] = _Episode(make(group[0]), last)
                yield True, self._open[key].event
            episode = self._open[key]
            episode.last, episode.steps = last, episode.steps + len(group)
            if excess is not None:
                episode.most = max(episode.most, float(excess[group].max()))
            elif quiet == 1:
                episode.event["new"] = make(group[-1])["new"]
        if key in self._open and steps[-1] - self._open[key].last > quiet:
            yield False, self._end(key)

    def _end(self, key: str) -> Event:
        """Ends an episode; its event says now what came of it."""
        episode = self._open.pop(key)
        n, until = episode.steps, f"until step {episode.last:,}"
        steps = "1 step was" if n == 1 else f"{n:,} steps were"
        if key == "refused":
            outcome = f"{steps} refused, {until}."
        elif key == "clipped":
            outcome = (
                f"{steps} clipped, {until}, from at most {episode.most:.3g} times "
            )
            outcome += "the limit."
        elif key.startswith("alarm/"):
            outcome = f"It was up in {'1 step' if n == 1 else f'{n:,} steps'}, {until}."
        else:
            outcome = f"It went on for {n:,} steps, {until}." if n > 1 else ""
        lasted = {"steps": n, "until": episode.last}
        evidence = {**episode.event["evidence"], **lasted}
        return {**episode.event, "outcome": outcome, "evidence": evidence}


def _of(calls: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Returns the calls of one control state, by name."""
    return {
        name.removeprefix(prefix): call
        for name, call in calls.items()
        if owner(name) == prefix
    }
