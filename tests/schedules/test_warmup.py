from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl

LAST = 2**31 - 1


@jax.jit
def warmup(step: Any, warmup_steps: Any, init_value: Any, body: Any) -> Any:
    schedule = octl.schedules.warmup(
        lambda step: body + jnp.asarray(step, jnp.float32),
        warmup_steps,
        init_value=init_value,
    )
    return schedule(step)


@given(
    warmup_steps=st.integers(1, LAST),
    share=st.floats(-0.5, 3.0),
    init_value=st.floats(-4, 4, width=32),
    body=st.floats(-4, 4, width=32),
)
def test_matches_the_reference(
    warmup_steps: int, share: float, init_value: float, body: float
) -> None:
    step = min(int(share * warmup_steps), LAST)
    at = max(step, 0)
    ramp = init_value + (body - init_value) * at / warmup_steps
    value = ramp if at < warmup_steps else body + (at - warmup_steps)
    actual = warmup(step, warmup_steps, init_value, body)
    np.testing.assert_allclose(actual, value, rtol=1e-6, atol=4e-6)


@pytest.mark.parametrize("warmup_steps", [10, 2**24 + 1, LAST - 1])
def test_the_schedule_begins_exactly_at_the_end_of_the_ramp(warmup_steps: int) -> None:
    def body(step: Any) -> Any:
        assert step.dtype == jnp.int32
        return step

    ramped = octl.schedules.warmup(body, warmup_steps)
    assert [int(ramped(jnp.int32(warmup_steps + i))) for i in (0, 1)] == [0, 1]


@pytest.mark.parametrize("warmup_steps", [2**24 + 1, LAST])
def test_the_last_step_of_the_ramp_is_below_its_end(warmup_steps: int) -> None:
    """A ramp down to 0 shows what float32 would round away: what is left of it."""
    left = jnp.asarray(warmup_steps - np.arange(1, 4), jnp.int32)
    values = octl.schedules.warmup(lambda _: 0.0, warmup_steps, init_value=1.0)(left)
    np.testing.assert_allclose(values, np.arange(1, 4) / warmup_steps, rtol=1e-6)


def test_story() -> None:
    schedule = octl.schedules.warmup(octl.schedules.cosine(4), 2, init_value=0.5)
    values = schedule(jnp.arange(8))
    expected = [0.5, 0.75, 1, 0.853553, 0.5, 0.146447, 0, 0]
    np.testing.assert_allclose(values, expected, atol=1e-6)
