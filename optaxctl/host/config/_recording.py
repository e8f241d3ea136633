"""What a configuration says about recording."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Recording:
    """Where a run is recorded, and what of it.

    Attributes:
      directory: The directory of the project; one file holds all of its runs.
      name: What to call the run.
      signals: Further numbers that every step hands to `update` by name.
    """

    directory: str = "runs"
    name: str = "run"
    signals: Sequence[str] = ()
