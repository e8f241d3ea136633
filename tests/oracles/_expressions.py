"""Functions of the step that a file of numbers gives as text."""

import ast
import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

_NAMES = {"pi": jnp.pi, "e": jnp.e}
_FUNCTIONS = {
    **{f: getattr(jnp, f) for f in ("sin", "cos", "sqrt", "exp", "log", "floor")},
    "abs": jnp.abs,
    "min": jnp.minimum,
    "max": jnp.maximum,
    "pow": jnp.power,
}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
}


def function(text: str) -> Callable[[Any], Any]:
    """Returns the arithmetic in `text` as a function of its one free name."""
    tree = ast.parse(text.removeprefix("lambda").strip(), mode="eval").body

    def of(step: Any) -> Any:
        return _value(tree, step)

    return of


def _value(node: ast.AST, step: Any) -> Any:
    see = lambda child: _value(child, step)
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _NAMES.get(node.id, step)
        case ast.BinOp():
            return _OPERATORS[type(node.op)](see(node.left), see(node.right))
        case ast.UnaryOp():
            return _OPERATORS[type(node.op)](see(node.operand))
        case ast.Compare():
            return _OPERATORS[type(node.ops[0])](
                see(node.left), see(node.comparators[0])
            )
        case ast.IfExp():
            return jnp.where(see(node.test), see(node.body), see(node.orelse))
        case ast.Call():
            name = ast.unparse(node.func).rpartition(".")[2]
            return _FUNCTIONS[name](*map(see, node.args))
        case ast.Attribute():
            return _NAMES[node.attr]
    raise ValueError(f"No arithmetic: {ast.unparse(node)}")
