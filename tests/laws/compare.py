"""How two runs are compared."""

from typing import Any

import jax
import numpy as np


def assert_same(actual: Any, expected: Any) -> None:
    """Asserts equality bit for bit, NaN and the sign of zero included."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def assert_near(actual: Any, expected: Any, rtol: float = 1e-6) -> None:
    """Asserts equal flags and counters and floats to `rtol`, absolute below 1."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        exact = a.dtype != np.float32
        np.testing.assert_allclose(
            a, b, rtol=0 if exact else rtol, atol=0 if exact else rtol
        )


def floats(tree: Any) -> dict[str, np.ndarray]:
    """Returns the float32 leaves by their path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = {jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in leaves}
    return {path: np.asarray(x) for path, x in named.items() if x.dtype == np.float32}
