import jax
import jax.numpy as jnp
import numpy as np
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


def test_updates_of_one_size_need_no_signal() -> None:
    c = octl.stop.budget(1e4, per_update=3000)
    assert c.signals == frozenset()
    state, stops = c.init(), []
    update = jax.jit(c.update)
    for _ in range(5):
        decision, state = update({}, state)
        stops.append(int(decision.stop) != 0)
    assert stops == [False, False, False, True, True]
    assert float(c.gauges(state)["left"]) == 0


def test_a_run_that_goes_on_does_not_wrap() -> None:
    c = octl.stop.budget(2**54, per_update=2**30)
    full = octl.stop.BudgetState(jnp.int32(2**31 - 2**8), jnp.int32(0))
    decision, state = c.update({}, full)
    assert int(decision.stop) == StopReason.BUDGET
    assert int(state.units) == 2**31 - 2**8


@pytest.mark.parametrize("total", [0, -1, 1.5, 2**54 + 2, float("nan"), "1e9"])
def test_the_total_is_checked(total: float) -> None:
    with pytest.raises(ValueError, match=r"`stop.budget\(total=...\)` must be"):
        octl.stop.budget(total)


@pytest.mark.parametrize("per_update", [0, 2**30 + 1, 0.5])
def test_what_one_update_uses_is_checked(per_update: int) -> None:
    with pytest.raises(ValueError, match=r"`stop.budget\(per_update=...\)` must be"):
        octl.stop.budget(10, per_update=per_update)
