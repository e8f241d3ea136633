from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl

LAST = 2**31 - 1
VALUES = st.integers(-1000, 1000).map(lambda n: n / 97)


@jax.jit
def cosine(step: Any, decay_steps: Any, init_value: Any, end_value: Any) -> Any:
    schedule = octl.schedules.cosine(
        decay_steps, init_value=init_value, end_value=end_value
    )
    return schedule(step)


@given(
    step=st.integers(-LAST, LAST),
    decay_steps=st.integers(1, LAST),
    init_value=VALUES,
    end_value=VALUES,
)
def test_matches_the_reference(
    step: int, decay_steps: int, init_value: float, end_value: float
) -> None:
    p = min(max(step, 0), decay_steps) / decay_steps
    value = end_value + (init_value - end_value) * (1 + np.cos(np.pi * p)) / 2
    actual = cosine(step, decay_steps, init_value, end_value)
    np.testing.assert_allclose(actual, value, rtol=1e-5, atol=1e-5)


@given(decay_steps=st.integers(1, LAST), init_value=VALUES, end_value=VALUES)
def test_both_ends_are_exact(
    decay_steps: int, init_value: float, end_value: float
) -> None:
    assert cosine(0, decay_steps, init_value, end_value) == np.float32(init_value)
    for step in (decay_steps, LAST):
        assert cosine(step, decay_steps, init_value, end_value) == np.float32(end_value)


@pytest.mark.parametrize("decay_steps", [100, 2**24 + 1, LAST])
def test_the_last_steps_are_told_apart(decay_steps: int) -> None:
    """Where float32 has lost the step, the share that is left is exact to an ulp."""
    left = np.arange(4)
    schedule = octl.schedules.cosine(decay_steps)
    actual = schedule(jnp.asarray(decay_steps - left, jnp.int32))
    expected = np.sin(np.pi / 2 * left / decay_steps) ** 2
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_story() -> None:
    schedule = octl.schedules.cosine(4, init_value=0.1)
    values = schedule(jnp.arange(6))
    np.testing.assert_allclose(
        values, [0.1, 0.0853553, 0.05, 0.0146447, 0, 0], rtol=1e-5
    )
