"""Going back inside the step: exactly, to a healthy state, in every front end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, bits, broken, gradients, scripted

INNER: dict[str, Any] = {
    "ready-made": optax.adamw(0.01),
    "injected": octl.inject(optax.adamw, learning_rate=0.01),
    "accumulating": optax.MultiSteps(optax.adamw(0.01), 2).gradient_transformation(),
}
RULES = scripted(rewind="back", alarm="alarm")
HEALTHY = {"back": False, "alarm": 0}


def run(
    inner: Any,
    script: dict[int, dict[str, Any]],
    steps: int,
    *,
    apply: bool,
    **how: Any,
) -> list[tuple[Any, Any]]:
    """Returns parameters and states before every step, and after the last."""
    tx = octl.control(inner, RULES, snapshots=octl.Snapshots(**how))

    @jax.jit
    def step(grads: Any, state: Any, params: Any, signals: Any) -> Any:
        if apply:
            return octl.apply_gradients(tx, grads, state, params, **signals)
        updates, state = tx.update(grads, state, params, **signals)
        return optax.apply_updates(params, updates), state

    passed = [(PARAMS, tx.init(PARAMS))]
    for i in range(steps):
        params, state = passed[-1]
        signals = HEALTHY | script.get(i, {})
        passed.append(step(gradients(i), state, params, signals))
    return passed


def same(a: tuple[Any, Any], b: tuple[Any, Any]) -> bool:
    return bits((a[0], a[1].inner)) == bits((b[0], b[1].inner))


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("inner", INNER)
def test_it_lands_on_the_snapshot_before_the_newest(inner: str, apply: bool) -> None:
    # Snapshots are of what steps 2, 5 and 8 were given: after 3 healthy steps each.
    script = {10: {"back": True}}
    passed = run(INNER[inner], script, 14, apply=apply, every=3)
    there = passed[11] if apply else passed[12]
    if not apply:  # adding cannot make a -0.0
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(passed[11][0]))
        zeros = lambda tree: jax.tree.map(lambda x: x + 0.0, tree)
        passed[5] = (zeros(passed[5][0]), passed[5][1])
    assert same(there, passed[5])
    assert not same(passed[-1], there)
    seen = octl.read(passed[-1][1])
    assert (seen.rewinds, seen.refused) == (1, 1 if apply else 2)
    assert seen.step == 14


def test_the_further_it_falls_the_older_what_it_returns_to() -> None:
    back = {"back": True}
    script = {11: back, 13: back, 14: back}
    passed = run(optax.adam(0.1), script, 16, apply=True, every=2, keep=3)
    # Of steps 1, 3, 5, 7, 9: three are kept, and 9 goes first.
    assert same(passed[12], passed[7])
    assert same(passed[14], passed[5])
    assert same(passed[15], passed[5])


def test_without_a_snapshot_it_returns_to_the_start() -> None:
    passed = run(optax.adam(0.1), {2: {"back": True}}, 3, apply=True, every=100)
    assert same(passed[3], passed[0])
    # The rewind is no step, and the steps before it are not uncounted.
    assert octl.read(passed[3][1]).accepted == 2


@pytest.mark.parametrize(
    ("alarm", "newest"),
    [
        (octl.Alarm.LOSS_SPIKE, 3),
        (octl.Alarm.ON_PROBATION, 3),
        (1 << 24, 3),
        (octl.Alarm.OUT_OF_DOMAIN, 5),
        (octl.Alarm.INVALID_DECISION, 5),
    ],
)
def test_no_snapshot_is_taken_under_an_alarm(alarm: int, newest: int) -> None:
    script = {i: {"alarm": int(alarm)} for i in (4, 5)}
    passed = run(optax.sgd(0.1), script, 6, apply=True, every=2)
    content = passed[-1][1].content()
    slots = passed[-1][1].snapshots
    assert bits(slots[int(content.health.newest)][0]) == bits(passed[newest][0])


def test_the_step_that_lands_believes_nothing() -> None:
    tx = octl.control(
        optax.adam(0.1),
        octl.together(rules=RULES, guard=octl.guard(), clip=octl.clip.auto()),
        snapshots=octl.Snapshots(every=1),
    )
    step = jax.jit(lambda g, s, p, x: tx.update(g, s, p, **x))
    params, state = PARAMS, tx.init(PARAMS)
    for i in range(3):
        updates, state = step(gradients(i), state, params, {**HEALTHY, "value": 1.0})
        params = optax.apply_updates(params, updates)
    updates, away = step(
        gradients(3), state, params, HEALTHY | {"back": True, "value": 1.0}
    )
    params = optax.apply_updates(params, updates)
    updates, landed = step(broken(), away, params, {**HEALTHY, "value": jnp.nan})
    params = optax.apply_updates(params, updates)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    before, after = octl.read(away), octl.read(landed)
    assert after.alarms_so_far == before.alarms_so_far == ()
    assert bits(landed.content().controller) == bits(away.content().controller)
    assert (after.step, after.accepted, after.skipped) == (5, before.accepted, True)


@pytest.mark.parametrize("apply", [True, False])
def test_broken_moments_are_noticed_and_undone(apply: bool) -> None:
    """Whatever made them infinite: the loss and the gradient did not show it."""
    passed = run(optax.adam(0.1), {}, 7, apply=apply, every=2)
    params, state = passed[-1]
    worse = jax.tree.map(lambda v: v + jnp.inf, state.inner[0].nu)
    poisoned = state._replace(inner=(state.inner[0]._replace(nu=worse), state.inner[1]))
    tx = octl.control(optax.adam(0.1), RULES, snapshots=octl.Snapshots(every=2))
    params, state = octl.apply_gradients(tx, gradients(7), poisoned, params, **HEALTHY)
    assert octl.read(state).alarms == ("nonfinite_update",)
    assert octl.read(state).rewinds == 1
    # The snapshot that was due is broken, and the one before it was found whole.
    assert same((params, state), passed[5])


def test_a_rewind_needs_the_parameters() -> None:
    tx = octl.control(optax.sgd(0.1), RULES, snapshots=octl.Snapshots())
    with pytest.raises(TypeError, match=r"tx\.update\(grads, state, params\)"):
        tx.update(gradients(0), tx.init(PARAMS), **HEALTHY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, r"Snapshots\(every=...\)` must be >= 1, got 0"),
        ({"keep": 1}, r"Snapshots\(keep=...\)` must be >= 2, got 1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octl.Snapshots(**arguments)


def test_of_many_seeds_only_the_one_that_fell_goes_back() -> None:
    tx = octl.control(optax.adam(0.1), RULES, snapshots=octl.Snapshots(every=2))

    def whole(backs: Any) -> Any:
        def step(carry: Any, row: Any) -> Any:
            back, i = row
            grads = jax.tree.map(lambda p: jnp.sin(p + i), PARAMS)
            params, state = carry
            return octl.apply_gradients(
                tx, grads, state, params, back=back, alarm=0
            ), None

        rows = (backs, jnp.arange(8.0))
        return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), rows)[0]

    backs = jnp.zeros((2, 8), jnp.bool_).at[1, 6].set(True)
    together = jax.jit(jax.vmap(whole))(backs)
    for i in range(2):
        alone = jax.jit(whole)(backs[i])
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-6, atol=1e-7)
    assert octl.read(together[1]).rewinds.tolist() == [0, 1]


def test_everything_can_be_donated() -> None:
    tx = octl.control(optax.adam(0.1), RULES, snapshots=octl.Snapshots(every=1))
    step = jax.jit(
        lambda p, s, g, x: octl.apply_gradients(tx, g, s, p, **x), donate_argnums=(0, 1)
    )
    params = jax.tree.map(jnp.array, PARAMS)
    state = tx.init(params)
    for i in range(4):
        params, state = step(params, state, gradients(i), HEALTHY | {"back": i == 3})
    assert octl.read(state).rewinds == 1


def test_a_checkpoint_holds_the_snapshots(tmp_path: Any) -> None:
    passed = run(optax.adam(0.1), {7: {"back": True}}, 9, apply=True, every=2)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(6, {"carry": passed[6]})
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        params, state = checkpoints.restore({"carry": passed[0]})[0]["carry"]
    tx = octl.control(optax.adam(0.1), RULES, snapshots=octl.Snapshots(every=2))
    for i in range(6, 9):
        signals = HEALTHY | {"back": i == 7}
        step = jax.jit(lambda g, s, p, x: octl.apply_gradients(tx, g, s, p, **x))
        params, state = step(gradients(i), state, params, signals)
    assert bits((params, state)) == bits(passed[9])


def test_a_rewind_asked_while_landing_waits() -> None:
    """The gradient of that step was taken at 0: whatever it says is not believed."""
    back = {"back": True}
    once = run(optax.adam(0.1), {10: back}, 12, apply=False, every=2, keep=3)
    twice = run(optax.adam(0.1), {10: back, 11: back}, 12, apply=False, every=2, keep=3)
    assert same(twice[12], once[12])
    assert octl.read(twice[12][1]).rewinds == 1


def test_after_a_plain_rewind_apply_gradients_lands_too() -> None:
    passed = run(optax.adam(0.1), {10: {"back": True}}, 12, apply=False, every=3)
    params, state = passed[11]
    tx = octl.control(optax.adam(0.1), RULES, snapshots=octl.Snapshots(every=3))
    landed = octl.apply_gradients(tx, gradients(11), state, params, **HEALTHY)
    assert bits(landed) == bits(passed[12])


def test_what_control_keeps_inside_is_not_taken_for_a_moment() -> None:
    """A control state inside holds infinite limits, and is healthy."""
    inside = octl.control(optax.sgd(0.01), octl.clip.auto())
    passed = run(inside, {}, 6, apply=True, every=2)
    assert octl.read(passed[-1][1]).rewinds == 0


@pytest.mark.parametrize("wrong", [True, 100, octl.Snapshots])
def test_what_is_no_snapshots_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"control\(snapshots=...\)` must be a `Snap"):
        octl.control(optax.sgd(0.1), octl.guard(), snapshots=wrong)


def test_narrow_updates_lead_back_exactly() -> None:
    tx = octl.control(optax.sgd(0.1), RULES, snapshots=octl.Snapshots(every=1))
    params = {"w": jnp.float32([1.2145509, 3.1015563]), "on": jnp.array([True, False])}
    state, passed = tx.init(params), []
    for i in range(5):
        passed.append(params)
        grads = {"w": jnp.bfloat16([0.3, 0.7]), "on": jnp.zeros(2, jnp.bool_)}
        signals = HEALTHY | {"back": i == 3}
        updates, state = tx.update(grads, state, params, **signals)
        params = optax.apply_updates(params, updates)
    assert bits(params) == bits(passed[1])


def test_the_step_that_lands_is_no_snapshot() -> None:
    """It is handed parameters of 0, which no healthy step has ever seen."""
    passed = run(optax.adam(0.1), {4: {"back": True}}, 6, apply=False, every=1)
    slots = passed[6][1].snapshots
    assert all(np.any(leaf) for leaf in [slot[0]["w"] for slot in slots])
