from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl

STEPS, TAPES = 120, 60
USUAL = {"updates": 80, "trial": 5, "patience": 6}
DEFAULT = {"factor": 1.26, "back_off": 0.3, "restart": 0.03, "fall": 0.15, "rise": 0.5}


def tapes() -> Any:
    """Losses that hold, fall or rise from the start, with noise, jumps and NaN."""
    rng = np.random.default_rng(0)
    drift = rng.choice([-0.05, 0.0, 0.03], (TAPES, 4)).repeat(STEPS // 4, axis=1)
    y = np.cumsum(drift, axis=1) + 0.05 * rng.normal(size=(TAPES, STEPS))
    y += 3 * (rng.random(y.shape) < 0.01)
    x = np.exp(y)
    x[rng.random(y.shape) < 0.02] = np.nan
    x[rng.random(y.shape) < 0.01] = -1.0
    return x.astype(np.float32)


def reference(
    xs: Any, *, updates: int, trial: int, patience: int, floor: float, ceil: float
) -> Iterator[tuple[float, bool, int]]:
    """Yields the scale, whether it goes back and the phase, in plain float64."""
    factor, back_off, restart, fall, rise = DEFAULT.values()
    scale, phase, stale, start = 1.0, "trial", 0, None
    level = weight = best = 0.0
    best_scale, back, lost = 1.0, False, False
    phases = ("trial", "ramp", "done", "proven")
    for t, x in enumerate(xs.astype(np.float64)):
        ok, rewind, was = bool(np.isfinite(x) and x > 0), False, phase
        y = np.log(x) if ok else np.nan
        judged = start is not None and not back
        if ok and phase != "done":
            if start is None:
                start, level, weight = y, y, 0.0
            elif back:
                level, weight = start, 0.2
            total = 0.8 * weight + 0.2
            level = (0.8 * weight * level + 0.2 * y) / total
            weight = total
            if not judged or level < best - 1e-3:
                best, best_scale, stale = level, scale, -1
        twice, lost = lost and not np.isfinite(x), not np.isfinite(x)
        if start is None and t >= updates:
            phase = "done"
        if start is None or phase == "done":
            yield scale, False, phases.index(phase)
            continue
        stale += 1
        bad = twice or (ok and (level > start + rise or y > start + 2 * rise))
        broken, fallen = judged and bad, (start if back else best) < start - fall
        proven = phase == "trial" and ok and t >= trial and level < start - 2 * fall
        back = back and not ok
        if proven:
            phase = "proven"
        elif phase == "ramp" and fallen and (broken or stale >= patience):
            scale, rewind, phase = best_scale * back_off, True, "done"
        elif broken:
            scale, rewind, phase, back = scale * restart, True, "ramp", True
        elif t >= updates:
            scale = scale if phase == "proven" else best_scale * back_off
            phase = "done"
        else:
            scale *= factor if ok and phase == "ramp" else 1.0
            phase = "ramp" if t >= trial and phase == "trial" else phase
        scale = float(np.clip(scale, floor, ceil))
        stale = 0 if phase != was or (back and rewind) else stale
        yield scale, rewind, phases.index(phase)


def test_matches_the_reference() -> None:
    how, xs = {**USUAL, "floor": 1e-3, "ceil": 50.0}, tapes()
    c = octl.lr.search(**how)
    result = jax.jit(jax.vmap(lambda x: octl.replay(c, {"loss": x})))(xs)
    phases = np.asarray(result.gauges["phase"])
    for i, x in enumerate(xs):
        scale, rewind, phase = zip(*reference(x, **how), strict=True)
        np.testing.assert_array_equal(result.decisions.rewind[i], rewind)
        np.testing.assert_array_equal(phases[i], phase)
        np.testing.assert_allclose(result.decisions.lr_scale[i], scale, rtol=1e-4)
    assert np.sum(result.decisions.rewind, axis=1).max() >= 2
    assert set(phases.ravel()) == {0, 1, 2, 3}


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.3, 1e4])
def test_a_quadratic_is_solved_from_any_rate(rate: float) -> None:
    """The best rate of x^2/2 in 20 dimensions is 1, and 2 diverges."""
    tx = octl.control(
        octl.inject(optax.sgd, learning_rate=rate),
        octl.together(search=octl.lr.search(), guard=octl.guard()),
        snapshots=octl.Snapshots(every=20),
    )

    def step(carry: Any, _: Any) -> Any:
        x, state = carry
        loss, grad = jax.value_and_grad(lambda x: jnp.sum(x * x) / 2)(x)
        return octl.apply_gradients(tx, grad, state, x, value=loss), loss

    x = jnp.ones(20)
    (_, state), losses = jax.lax.scan(step, (x, tx.init(x)), length=150)
    now = octl.read(state)
    assert losses[-1] < 1e-3 * losses[0]
    assert 0.02 < rate * now.lr_scale < 2


def test_it_goes_back_to_where_it_began() -> None:
    """What a rate did that gained a little and was then found too high is undone."""
    tx = octl.control(
        octl.inject(optax.sgd, learning_rate=0.5),
        octl.lr.search(trial=15),
        snapshots=octl.Snapshots(every=3),
    )

    def step(carry: Any, loss: Any) -> Any:
        w, state = carry
        w, state = octl.apply_gradients(tx, jnp.float32(1), state, w, value=loss)
        return (w, state), w

    w = jnp.float32(8)
    losses = jnp.array([1.0] + [0.78] * 20 + [9.0])
    (w, state), seen = jax.lax.scan(step, (w, tx.init(w)), losses)
    assert seen[-2] < 0
    assert (float(w), octl.read(state).rewinds) == (8.0, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"updates": 0},
        {"trial": -1},
        {"factor": 1.0},
        {"back_off": 1.5},
        {"restart": 1.0},
        {"fall": 0.0},
        {"rise": 0.0},
        {"patience": 0},
        {"decay": 1.0},
        {"floor": 0.0},
        {"ceil": 0.5},
    ],
)
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`lr.search\({name}=...\)` must be "):
        octl.lr.search(**wrong)
