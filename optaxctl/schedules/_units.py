"""Epochs, examples, tokens and shares of a run as optimizer steps."""

from dataclasses import dataclass
from typing import Any

from optaxctl._core import checks


@dataclass(frozen=True, kw_only=True)
class Units:
    """Converts lengths of a run to optimizer steps, the one unit of every schedule.

    One step is one call of the optimizer that changes the parameters. With N devices,
    or gradients accumulated over k batches, its `batch_size` is that of all N devices,
    and of all k batches, together.

        epochs(x)    = round(x * examples_per_epoch / batch_size)
        examples(x)  = round(x / batch_size)
        tokens(x)    = round(x / (batch_size * tokens_per_example))
        fraction(x)  = round(x * total_steps)

    An epoch whose last, smaller batch is left out has
    floor(examples_per_epoch / batch_size) steps; with `drop_last=False` it is the
    ceiling. Halves are rounded to the even number.

    Attributes:
      batch_size: Examples per optimizer step, >= 1.
      examples_per_epoch: Examples in the data, >= 1; needed by `epochs`.
      tokens_per_example: Tokens in an example, >= 1; needed by `tokens`.
      total_steps: Length of the run, >= 1; needed by `fraction`.
      drop_last: Whether an incomplete last batch is left out of every epoch.

    Raises:
      ValueError: If an attribute is not a whole number >= 1, an epoch has no step, or a
        conversion lacks what it needs or is asked for a negative length.

    Example:
      >>> import optaxctl as octl
      >>> run = octl.schedules.Units(batch_size=128, examples_per_epoch=50_000)
      >>> run.epochs(2), run.epochs(0.5), run.examples(1_000_000)
      (780, 195, 7812)
      >>> course = octl.schedules.cosine(run.epochs(90))
      >>> schedule = octl.schedules.warmup(course, run.epochs(5))

    References:
      Composer's time units and Big Vision's `_epochs`, `_examples`, `_percent`.
    """

    batch_size: int
    examples_per_epoch: int | None = None
    tokens_per_example: int | None = None
    total_steps: int | None = None
    drop_last: bool = True

    def __post_init__(self) -> None:
        """Checks the attributes."""
        for name in ("examples_per_epoch", "tokens_per_example", "total_steps"):
            if (value := getattr(self, name)) is not None:
                checks.count("schedules.Units", **{name: value})
        checks.count("schedules.Units", batch_size=self.batch_size)
        if self.examples_per_epoch is not None and not self.steps_per_epoch:
            raise ValueError(
                f"`schedules.Units(batch_size={self.batch_size})` leaves no step in an "
                f"epoch of {self.examples_per_epoch} examples. Use a smaller batch, or "
                "`drop_last=False`."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        examples = self._need("examples_per_epoch", "epochs")
        return (examples if self.drop_last else examples + self.batch_size - 1) // (
            self.batch_size
        )

    def epochs(self, epochs: float) -> int:
        """Returns the steps in so many epochs."""
        return self._round("epochs", epochs, self.steps_per_epoch)

    def examples(self, examples: float) -> int:
        """Returns the steps that see so many examples."""
        return self._round("examples", examples, 1, self.batch_size)

    def tokens(self, tokens: float) -> int:
        """Returns the steps that see so many tokens."""
        per_example = self._need("tokens_per_example", "tokens")
        return self._round("tokens", tokens, 1, self.batch_size * per_example)

    def fraction(self, share: float) -> int:
        """Returns the steps in a share of the run, 0 to 1."""
        checks.within(0, 1, "schedules.Units.fraction", share=share)
        return self._round("share", share, self._need("total_steps", "fraction"))

    def _round(self, name: str, length: float, steps: int, per: int = 1) -> int:
        arguments: dict[str, Any] = {name: length}
        checks.at_least(0, "schedules.Units", **arguments)
        return round(length * steps / per)

    def _need(self, attribute: str, conversion: str) -> int:
        value = getattr(self, attribute)
        if value is None:
            raise ValueError(
                f"`schedules.Units.{conversion}` needs `{attribute}`, which was not "
                f"given. Write `Units(..., {attribute}=...)`."
            )
        return value
