"""Every public controller, and what the laws need to know of it."""

from tests.laws._combinators import COMBINATORS
from tests.laws._example import Example
from tests.laws._families import FAMILIES

__all__ = ["EXAMPLES", "Example"]

EXAMPLES = {**FAMILIES, **COMBINATORS}
