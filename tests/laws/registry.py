"""Every public controller, and what the laws need to know of it."""

from tests.laws._clip import CLIP
from tests.laws._combinators import COMBINATORS
from tests.laws._example import Example
from tests.laws._families import FAMILIES
from tests.laws._stop import STOP
from tests.laws._stop_rules import STOP_RULES
from tests.laws._watch import WATCH

__all__ = ["EXAMPLES", "Example"]

EXAMPLES = {**FAMILIES, **CLIP, **STOP, **STOP_RULES, **WATCH, **COMBINATORS}
