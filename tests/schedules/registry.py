"""Every schedule with an example, what to sweep and what to refuse: for the laws."""

from tests.schedules._composed import COMPOSED
from tests.schedules._entry import Entry, make, reference
from tests.schedules._phases import PHASES
from tests.schedules._plain import PLAIN

__all__ = ["REGISTRY", "Entry", "make", "reference"]

REGISTRY: dict[str, Entry] = {**PLAIN, **PHASES, **COMPOSED}
