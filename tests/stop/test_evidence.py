"""`stop.evidence` on gradients of a known signal, and on a network that overfits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from optaxctl import StopReason


def test_matches_the_reference() -> None:
    rng = np.random.default_rng(0)
    whole, parts = rng.exponential(size=(2, 200)).astype(np.float32)
    parts[100:] *= 30
    whole[rng.random(200) < 0.1] = np.nan
    parts[rng.random(200) < 0.1] = 1e30  # its square overflows
    c = octl.stop.evidence(4, updates=3, decay=0.75)
    seen = octl.replay(c, {"grad_norm": whole, "part_norm": parts})
    w = p = n = 0.0
    row, value = 0, 0.0
    for t, (a, b) in enumerate(zip(whole.tolist(), parts.tolist(), strict=True)):
        if np.isfinite(a) and b < 1e19:
            w, p, n = (0.75 * x + 0.25 * y for x, y in ((w, a * a), (p, b * b), (n, 1)))
            value = 1 - w / max((p - w) / 3, 1e-6 * w)
            row = row + 1 if value > 0 else 0
        np.testing.assert_allclose(seen.gauges["evidence"][t], value, rtol=1e-3)
        assert int(seen.gauges["consecutive"][t]) == row
        assert bool(seen.decisions.stop[t]) == (row >= 3)
    assert set(seen.decisions.stop.tolist()) == {0, StopReason.NO_EVIDENCE}


def test_story() -> None:
    """A linear fit to 40 noisy points in 60 dimensions, which ends up learning noise.

    It stops between the first steps and the end of training, with a test error that is
    lower than at the end.
    """
    keys = jax.random.split(jax.random.key(0), 4)
    truth = jnp.where(jnp.arange(60) < 3, 1.0, 0.0)
    x, x_test = (
        jax.random.normal(keys[0], (40, 60)),
        jax.random.normal(keys[1], (500, 60)),
    )
    y = x @ truth + jax.random.normal(keys[2], (40,))
    stopper = octl.stop.evidence(40, updates=5, decay=0.9)

    def error(w: Any) -> Any:
        return jnp.mean((x_test @ w - x_test @ truth) ** 2)

    def step(carry: Any, _: Any) -> Any:
        w, state = carry
        each = jax.vmap(lambda a, b: 2 * (a @ w - b) * a)(x, y)
        norms = {
            "grad_norm": jnp.linalg.norm(each.mean(0)),
            "part_norm": jnp.sqrt(jnp.mean(jnp.sum(each**2, -1))),
        }
        decision, state = stopper.update(norms, state)
        return (w - 0.02 * each.mean(0), state), (decision.stop, error(w))

    start = (jnp.zeros(60), stopper.init())
    stops, errors = jax.jit(lambda s: jax.lax.scan(step, s, None, 400)[1])(start)
    at = int(jnp.argmax(stops != 0))
    assert 5 < at < 200
    assert errors[at] < 0.9 * errors[-1]
    assert errors[at] < errors[0]


@pytest.mark.parametrize("wrong", [{"parts": 1}, {"updates": 0}, {"decay": 1.0}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`stop.evidence\({name}=...\)` must be"):
        octl.stop.evidence(**{"parts": 4, **wrong})
