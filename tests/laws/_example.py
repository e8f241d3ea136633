"""What the laws need to know of a controller."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import BoundArguments, signature
from typing import Any

from optaxctl import Controller


@dataclass(frozen=True, eq=False)
class Example:
    """A controller factory with arguments under which it acts on the shared tape.

    Attributes:
      factory: The public function.
      arguments: A value for every argument, by name.
      variations: Another value for every argument; each alone changes some decision.
      moves: The fields of `Decision` that it moves.
      readers: For every signal that it reads, the name of the reader in errors.
      last_values: Names in the state of what was last seen or decided. All other
        float32 leaves are statistics, which a non-finite step leaves bit-identical.
      declarations: Arguments that say something and decide nothing.
      sizes: Arguments that are the length of an array, and so cannot be traced.
    """

    factory: Callable[..., Controller]
    arguments: dict[str, Any]
    variations: dict[str, Any]
    moves: set[str]
    readers: dict[str, str]
    last_values: frozenset[str] = frozenset()
    declarations: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()

    def build(self, **changes: Any) -> Controller:
        call = BoundArguments(signature(self.factory), {**self.arguments, **changes})
        return self.factory(*call.args, **call.kwargs)
