import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from optaxctl import StopReason


def test_a_sum_beyond_float32_and_int32_is_exact() -> None:
    """2^40 and 3 tokens more, where float32 knows multiples of 131,072."""
    amount, steps = 2**30, 2**10
    c = octl.stop.budget(2**40 + 3, per_update="tokens")
    tokens = np.full(steps + 6, amount, np.float32)
    tokens[steps:] = [1, np.nan, -5, np.inf, 1, 1]
    seen = octl.replay(c, {"tokens": tokens})
    stops = np.flatnonzero(seen.decisions.stop)
    np.testing.assert_array_equal(stops, [steps + 5])
    assert seen.decisions.stop[-1] == StopReason.BUDGET
    assert seen.gauges["left"][steps - 1 :].tolist() == [3, 2, 2, 2, 2, 1, 0]


def test_updates_of_one_size_are_read_off_the_step() -> None:
    update = jax.jit(octl.stop.budget(1e4, per_update=3000).update)
    state = octl.stop.budget(1e4, per_update=3000).init()
    stops = [int(update({"step": step}, state)[0].stop) for step in (0, 2, 3, 9, 2)]
    assert stops == [0, 0, StopReason.BUDGET, StopReason.BUDGET, 0]
    far = octl.stop.budget(2**54, per_update=2**30 + 1)  # 2^24 updates, less 0.016
    for step, stop in ((2**24 - 2, 0), (2**24 - 1, StopReason.BUDGET)):
        decision, state = far.update({"step": jnp.int32(step)}, far.init())
        assert int(decision.stop) == stop
    assert float(far.gauges(state)["left"]) == 0
    decision, state = far.update({"step": jnp.int32(2**31 - 1)}, state)
    assert (int(decision.stop), int(state.units)) == (StopReason.BUDGET, 2**7)


def test_a_run_that_goes_on_does_not_wrap() -> None:
    c = octl.stop.budget(2**54, per_update="tokens")
    full = octl.stop.BudgetState(jnp.int32(2**31 - 2**8), jnp.int32(0))
    decision, state = c.update({"tokens": 2.0**30}, full)
    assert int(decision.stop) == StopReason.BUDGET
    assert int(state.units) == 2**31 - 2**8
    half = octl.replay(octl.stop.budget(9, per_update="n"), {"n": np.full(9, 0.6)})
    assert half.gauges["left"].tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_steps_are_counted_beside_an_observed_signal() -> None:
    """Observed every 5 steps, in whatever it stands."""
    stale = octl.stop.patience(99)
    tokens = octl.stop.budget(10)
    either = octl.stop.any_of(stale=stale, tokens=tokens)
    both = octl.stop.all_of(seen=octl.stop.limit(0.0), tokens=tokens)
    # A rule within `after` is asked only when all of it is fresh, in step 11.
    for rule, at in ((either, 10), (both, 10), (octl.after(0, either), 11)):
        tx = octl.control(optax.sgd(0.1), rule, observed=("val_loss",))
        state, w = tx.init(jnp.ones(1)), jnp.ones(1)
        update = jax.jit(tx.update)
        stopped = []
        for step in range(1, 15):
            _, state = update(w, state, w)
            stopped += [step] if octl.read(state).stop else []
            if step % 5 == 0:
                state = octl.observe(state, val_loss=1.0)
        assert stopped[0] == at


@pytest.mark.parametrize("total", [0, -1, 1.5, 2**54 + 2, float("nan"), "1e9"])
def test_the_total_is_checked(total: float) -> None:
    with pytest.raises(ValueError, match=r"`stop.budget\(total=...\)` must be"):
        octl.stop.budget(total)


@pytest.mark.parametrize("per_update", [0, -1, 0.5])
def test_what_one_update_uses_is_checked(per_update: int) -> None:
    with pytest.raises(ValueError, match=r"`stop.budget\(per_update=...\)` must be"):
        octl.stop.budget(10, per_update=per_update)
