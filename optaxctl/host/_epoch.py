"""What a training loop has to tell after an epoch."""

from dataclasses import dataclass, field
from typing import Any

from optaxctl._core.flags import StopReason, sentences
from optaxctl.host._rewind import Rewind
from optaxctl.views._read import Reading


@dataclass(frozen=True)
class Epoch:
    """How a run stands after an epoch and, but for the last, a step of the next.

    That step is the one in which the controllers answer the evaluation.

    Attributes:
      number: Epochs done, this one included.
      max_epochs: The epochs after which the run ends at the latest.
      metrics: What `evaluate` returned, as floats.
      monitor: The metric that decides which parameters are best.
      best: Its best finite value so far, or None if there is none yet.
      since_best: Evaluations since then; 0 if this one is the best.
      best_params: The parameters that reached it.
      lr_range: Lowest and highest learning rate, of the first and last steps of all
        epochs so far; None where the rate is hidden.
      seconds: Duration of this epoch, evaluation included.
      reading: What `octl.read` says.
      carry: The carry as it is now: the epoch's, one step on if another follows. A step
        that donates its carry will consume it.
      rewind: How the loop went back to a checkpoint in this epoch, the last time if
        there were several, or None.
      emergency: Where the state is saved in which something critical was seen in this
        epoch for the first time, or None.
    """

    number: int
    max_epochs: int
    metrics: dict[str, float]
    monitor: str
    best: float | None
    since_best: int
    best_params: Any = field(repr=False, compare=False)
    lr_range: tuple[float, float] | None
    seconds: float = field(compare=False)
    reading: Reading
    carry: Any = field(repr=False, compare=False)
    rewind: Rewind | None = None
    emergency: str | None = field(default=None, compare=False)

    @property
    def step(self) -> int:
        """Optimizer steps so far, refused ones included."""
        return self.reading.step

    @property
    def stopped(self) -> bool:
        """Whether a controller asked to stop, or going back did not help."""
        asked = any(r.stop for r in (self.reading, *self.reading.groups))
        return asked or (self.rewind is not None and self.rewind.gave_up)

    @property
    def reason(self) -> str:
        """Why the run ends here, in a sentence or two; empty if it goes on."""
        if self.rewind is not None and self.rewind.gave_up:
            return str(self.rewind)
        names = {n for r in (self.reading, *self.reading.groups) for n in r.stop}
        if self._has_lost_patience():
            checks = "check" if self.since_best == 1 else "checks"
            return (
                f"{self.monitor} has not beaten {self.best:.4g} for "
                f"{self.since_best:,} {checks}; stopping at step {self.step:,}."
            )
        if names:
            why = " ".join(map(_sentence, sorted(names)))
            return f"{why} Stopping at step {self.step:,}."
        if self.number >= self.max_epochs:
            return f"All {self.number:,} epochs are done, at step {self.step:,}."
        return ""

    def _has_lost_patience(self) -> bool:
        """Whether the rule that stopped is one of patience with `monitor`.

        A reading does not say what a rule reads, but it has waited just as long.
        """
        gauges = self.reading.gauges
        waits = [gauges[name] for name in gauges if name.endswith("stale")]
        over = "patience" in self.reading.stop and self.best is not None
        return over and self.since_best > 0 and waits == [self.since_best]

    def __str__(self) -> str:
        parts = [f"epoch {self.number}/{self.max_epochs}", f"step {self.step:,}"]
        parts += [f"{name} {value:.4g}" for name, value in self.metrics.items()]
        if self.best is not None:
            parts.append(f"best {self.best:.4g}")
        if self.reading.learning_rate is not None:
            parts.append(f"lr {self.reading.learning_rate:.2e}")
        line = ", ".join([*parts, f"{self.seconds:.2f} s"])
        happened = [f" {self.rewind}"] if self.rewind else []
        if self.emergency is not None:
            happened.append(f" What was wrong is saved in {self.emergency}.")
        return ".".join([line, "".join(happened)]) if happened else line


def _sentence(name: str) -> str:
    known = StopReason.__members__.get(name.upper())
    return sentences(StopReason, known)[0] if known else f"Flag {name} is set."
