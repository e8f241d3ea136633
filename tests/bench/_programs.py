"""A compiled program: its deterministic figures, and how to run it many times."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_COPY = re.compile(r"= (\S+?)(?:\{[\d,]*\})? copy\(")
_FUSION = re.compile(r" (?:fusion|call|conditional)\(")


class Figures(NamedTuple):
    """What the compiler knows: the same in every run on one machine."""

    bytes_accessed: float
    temporary: int
    leaf_copies: int
    kernels: int


class Program:
    """`fn(params, state, ...)` with its arguments, not compiled yet."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], *, donate: bool):
        self.fn, self.args, self.donate = fn, args, donate
        self.compiled: Any = None

    def compile(self) -> None:
        """Traces, lowers and compiles anew: a new function is in no cache."""

        def fresh(*args: Any) -> Any:
            return self.fn(*args)

        donated = (0, 1) if self.donate else ()
        self.compiled = (
            jax.jit(fresh, donate_argnums=donated).lower(*self.args).compile()
        )

    def figures(self) -> Figures:
        text = self.compiled.as_text()
        entry = text[text.index("\nENTRY") :]
        leaves = jax.tree.leaves(self.args[0])
        shapes = {f"f32[{','.join(map(str, leaf.shape))}]" for leaf in leaves}
        return Figures(
            self.compiled.cost_analysis()["bytes accessed"],
            self.compiled.memory_analysis().temp_size_in_bytes,
            sum(shape in shapes for shape in _COPY.findall(entry)),
            len(_FUSION.findall(entry)),
        )

    def effects(self) -> int:
        """Counts effects and callbacks, in the program and in everything it calls."""
        jaxpr = jax.make_jaxpr(self.fn)(*self.args)
        return len(jaxpr.effects) + _callbacks(jaxpr.jaxpr)


class Runner:
    """Calls a program on its own results, as training does."""

    def __init__(self, program: Program, calls: int):
        self.params, self.state, *self.rest = program.args
        self.compiled, self.calls = program.compiled, calls
        self.renew()

    def renew(self) -> None:
        """Moves to other buffers: where they lie changes a time by 10 %."""
        self.params, self.state = jax.tree.map(jnp.copy, (self.params, self.state))
        self._run(1)

    def __call__(self) -> None:
        self._run(self.calls)

    def _run(self, calls: int) -> None:
        for _ in range(calls):
            self.params, self.state, *_ = self.compiled(
                self.params, self.state, *self.rest
            )
        jax.block_until_ready((self.params, self.state))


def _callbacks(jaxpr: Any) -> int:
    found = 0
    for eqn in jaxpr.eqns:
        found += "callback" in eqn.primitive.name
        for inner in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_has_eqns):
            if _has_eqns(inner):
                found += _callbacks(getattr(inner, "jaxpr", inner))
    return found


def _has_eqns(x: Any) -> bool:
    return hasattr(getattr(x, "jaxpr", x), "eqns")
