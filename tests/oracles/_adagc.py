"""`transforms.adagc` against the formula of its paper, on one tensor."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, differs, unproven

RTOL = 1e-5
QUIRKS = {"poisoned": "a NaN or infinite norm enters the running norm"}


def judge(case: Case, norms: Sequence[float]) -> Verdict:
    ours = observed(case.config, norms)
    finite = np.isfinite(np.asarray(norms))
    plain = reference(case.config, norms, frozenset())
    close = lambda a, b: np.allclose(a, b, rtol=RTOL, atol=0, equal_nan=True)
    if not all(close(a[finite], b[finite]) for a, b in zip(ours, plain, strict=True)):
        return unproven("the rule, as it is written here, gives other norms than ours")
    theirs = case.expected["clipped_norm"], case.expected["gamma_after"]
    if all(close(a, b) for a, b in zip(ours, theirs, strict=True)):
        return MATCHED
    return differs(
        lambda rows: all(
            close(a[finite], b[finite]) for a, b in zip(ours, rows, strict=True)
        ),
        lambda rows: all(close(a, b) for a, b in zip(rows, theirs, strict=True)),
        QUIRKS,
        lambda quirks: reference(case.config, norms, quirks),
    )


def observed(config: dict[str, Any], norms: Sequence[float]) -> tuple[Any, Any]:
    tx = octl.transforms.adagc(
        config.get("lambda_rel", 1.04),
        decay=config.get("beta", 0.99),
        warmup_steps=config.get("warmup", 100),
        max_norm=config.get("lambda_abs", 1.0),
        eps=config.get("eps", 1e-6),
    )

    @jax.jit
    def run(norms: Any) -> Any:
        def step(state: Any, norm: Any) -> Any:
            clipped, state = tx.update(norm, state)
            return state, (clipped, state.norms[0])

        return jax.lax.scan(step, tx.init(jnp.float32(0)), norms)[1]

    clipped, gamma = run(np.asarray(norms, np.float32))
    return np.asarray(clipped, np.float64), np.asarray(gamma, np.float64)


def reference(
    config: dict[str, Any], norms: Sequence[float], quirks: frozenset[str]
) -> tuple[Any, Any]:
    ratio, decay = config.get("lambda_rel", 1.04), config.get("beta", 0.99)
    eps, warmup = config.get("eps", 1e-6), config.get("warmup", 100)
    most, gamma = config.get("lambda_abs", 1.0), math.inf
    rows = []
    for step, n in enumerate(norms):
        if step < warmup:
            clipped = n * min(1.0, most / (n + eps))
            moved = min(gamma, clipped)
        else:
            limit = ratio * gamma
            clipped = n * limit / (n + eps) if n > limit else n
            moved = decay * gamma + (1 - decay) * min(n, limit)
        gamma = moved if math.isfinite(n) or "poisoned" in quirks else gamma
        rows.append((clipped, gamma))
    return tuple(map(np.asarray, zip(*rows, strict=True)))
