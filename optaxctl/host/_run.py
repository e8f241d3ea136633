"""A run as the loop holds it: what it carries, how it stands, and where it is saved."""

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from optaxctl._core.flags import StopReason, names
from optaxctl._core.keeping import KeptState
from optaxctl.host._aside import EMERGENCY, INTERIM, earlier, newest, save_aside
from optaxctl.host._epoch import Epoch
from optaxctl.host._journal import Journal
from optaxctl.host._rewind import (
    Rewind,
    asked,
    critical,
    is_healthy,
    keep_control,
    raised,
)
from optaxctl.host.checkpoint import Checkpoints
from optaxctl.views._read import Reading, read
from optaxctl.views._state import states

Carry = Any
"""What a step carries on: a pytree, or objects that it changes in place."""


@dataclass
class Run:
    """What a loop changes as it goes, with the means to save it and to go back.

    Attributes:
      carry: The user's.
      kept: The best parameters.
      pure: From the carry to a pytree of arrays.
      restore: From the carry and such a pytree to the carry it stands for.
      checkpoints: Where to save, if anywhere.
      max_rewinds: How often to go back in a row.
      journal: Where to record, if anywhere.
      rates: The lowest and highest learning rate so far.
      reading: Of the last look.
      answered: Rewinds that were asked for and have been answered.
      tries: Times it went back since the last healthy checkpoint.
      alarmed: The critical alarms that were up in the last look.
      rewind: How it went back, until an `Epoch` tells.
      emergency: Where that was saved, until an `Epoch` tells.
    """

    carry: Carry
    kept: KeptState
    pure: Callable[[Carry], Any]
    restore: Callable[[Carry, Any], Carry | None]
    checkpoints: Checkpoints | None
    max_rewinds: int
    journal: Journal
    rates: tuple[float, float] | None = None
    answered: int = 0
    tries: int = 0
    alarmed: tuple[str, ...] = ()
    rewind: Rewind | None = None
    emergency: str | None = None

    def __post_init__(self) -> None:
        self._told_to_stop = False
        self.read()
        # Step and batches of what was saved last: an interrupt after the last batch of
        # an epoch is at the step of its end.
        self._saved: tuple[int, int] | None = None

    def move(self, new: Carry | None) -> None:
        """Takes what a step returned: a new carry, or None if it changed this one."""
        self._take(new)
        self.journal.stepped(self.carry)

    def _take(self, new: Carry | None) -> None:
        self.carry = self.carry if new is None else new

    def obey(self) -> None:
        """Does what the user has asked for from outside."""
        self.carry, stop = self.journal.obeyed(self.carry)
        self._told_to_stop |= stop

    def read(self) -> None:
        """Takes a look at the carry.

        That the user asked to stop is not in it: a run that is resumed goes on.
        """
        reading = read(self.carry)
        told = names(StopReason, StopReason.USER) if self._told_to_stop else ()
        self.reading: Reading = replace(reading, stop=(*reading.stop, *told))

    def widen(self) -> None:
        """Takes the learning rate of the last look into the range of rates."""
        rate = self.reading.learning_rate
        if rate is not None:
            low, high = self.rates or (math.inf, -math.inf)
            self.rates = min(low, rate), max(high, rate)

    def told(self) -> dict[str, Any]:
        """Returns what no `Epoch` has told yet, for the next one to tell."""
        news = {"rewind": self.rewind, "emergency": self.emergency}
        self.rewind = self.emergency = None
        return {name: what for name, what in news.items() if what is not None}

    @property
    def over(self) -> bool:
        """Whether to leave the epoch: it gave up going back, or the user asked."""
        gave_up = self.rewind is not None and self.rewind.gave_up
        return gave_up or self._told_to_stop

    def look(self) -> None:
        """Waits for the device, and does what the controllers ask of the host."""
        before = self.reading
        self.read()
        total = asked(self.carry, self.reading)
        rewinds, self.answered = total > self.answered, total
        if self.checkpoints is None:
            if rewinds:
                raise ValueError(
                    f"A controller asked to rewind by step {self.reading.step:,}, and "
                    "`loop.epochs` has nothing to go back to. Give it `checkpoints`, "
                    "or let the step do it: `control(..., snapshots=octl.Snapshots())`."
                )
            return
        up = critical(self.reading)
        rises, self.alarmed = rewinds or up - set(self.alarmed), tuple(sorted(up))
        if rises and self.emergency is None:  # the first of an epoch says the most
            self.emergency = save_aside(
                self.checkpoints,
                EMERGENCY,
                self.reading.step,
                {"carry": self.pure(self.carry)},
                {"healthy": False, "alarms": self.reading.alarms},
            )
            self.journal.happened(
                self.reading.step,
                "emergency",
                f"Something critical was seen ({', '.join(self.reading.alarms)}).",
                outcome=f"The state is saved in {self.emergency}.",
            )
        if rewinds:
            self._go_back(self.checkpoints, before.step)

    def save(self, record: Epoch | None, *, batches: int = 0) -> None:
        """Saves all that it takes to go on from here.

        It is something to go back to if this is the end of an epoch without a rewind,
        and healthy.

        Args:
          record: The last epoch, if there was one.
          batches: How many of the next epoch have been stepped through.
        """
        step = self.reading.step
        if self.checkpoints is None or self._saved == (step, batches):
            return
        rewound = record is not None and record.rewind is not None
        healthy = not batches and not rewound and is_healthy(self.carry, self.reading)
        self.tries = 0 if healthy else self.tries
        notes = {
            "healthy": healthy,
            "step": step,
            "epoch": record and _noted(record, _TOLD),
            "batches": batches,
            "run": _noted(self, _REMEMBERED),
            "history": self.journal.kept(),  # no step before it can be missing then
        }
        if healthy:
            metrics = record.metrics if record else None
            self.checkpoints.save(step, self._tree(), notes, metrics=metrics)
        else:
            save_aside(self.checkpoints, INTERIM, step, self._tree(), notes)
        self._saved = step, batches

    def wait(self) -> None:
        """Waits until what was saved is on the disk."""
        if self.checkpoints is not None:
            self.checkpoints.wait()

    def resume(self) -> dict[str, Any] | None:
        """Goes on from what was saved last, and returns its notes, if there is any."""
        if self.checkpoints is None:
            return None
        found = newest(self.checkpoints, self._tree())
        if not found:
            return None
        tree, notes = found
        self.journal.go_on(notes.get("history"))
        self._take(self.restore(self.carry, tree["carry"]))
        self.kept = tree["best"]
        for name, value in _read_back(notes["run"]).items():
            setattr(self, name, value)
        self.read()
        self._saved = self.reading.step, notes["batches"]
        if alarms := sorted(critical(self.reading)):
            warnings.warn(
                f"The run goes on from step {self.reading.step:,}, where something was "
                f"wrong ({', '.join(alarms)}). To go on from its last healthy "
                f"checkpoint instead, delete `{INTERIM}` in its directory.",
                stacklevel=3,
            )
        return {**notes, "epoch": notes["epoch"] and _read_back(notes["epoch"])}

    def _tree(self) -> dict[str, Any]:
        return {"carry": self.pure(self.carry), "best": self.kept}

    def _go_back(self, checkpoints: Checkpoints, before: int) -> None:
        """Takes all but what control keeps from a checkpoint before the last look."""
        self.tries += 1
        gave_up = self.tries > self.max_rewinds
        kept = [state.arrays() for state in states(self.carry)]
        tries = 1 if gave_up else self.tries
        tree, notes = earlier(checkpoints, self._tree(), tries, before)
        self._take(self.restore(self.carry, tree["carry"]))
        self.rewind = Rewind(
            step=self.reading.step,
            to=notes["step"],
            alarms=raised(since=read(self.carry), now=self.reading),
            tries=self.tries,
            gave_up=gave_up,
            directory=str(checkpoints.directory),
        )
        self.carry = keep_control(self.carry, kept)
        self.journal.happened(self.reading.step, "rewind", str(self.rewind))


_TOLD = ("number", "metrics", "seconds", "rewind", "emergency")
_REMEMBERED = ("rates", "answered", "tries", "alarmed", "rewind", "emergency")


def _noted(what: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns attributes in a form that JSON can hold."""
    values = {name: getattr(what, name) for name in names}
    return values | {"rewind": what.rewind and asdict(what.rewind)}


def _read_back(noted: dict[str, Any]) -> dict[str, Any]:
    """Returns the attributes that `_noted` has noted."""
    values = dict(noted)
    if told := values["rewind"]:
        values["rewind"] = Rewind(**{**told, "alarms": tuple(told["alarms"])})
    lists = {n: tuple(x) for n, x in values.items() if isinstance(x, list)}
    return values | lists
