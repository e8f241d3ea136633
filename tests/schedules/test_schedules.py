"""What every schedule must keep: integers, ends, types, and `vmap`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl

LAST = 2**31 - 1


def cosine(steps: Any, init_value: Any, end_value: Any) -> Callable[[Any], Any]:
    return octl.schedules.cosine(steps, init_value=init_value, end_value=end_value)


def warmup(steps: Any, init_value: Any, end_value: Any) -> Callable[[Any], Any]:
    peak = octl.schedules.cosine(1000, init_value=end_value)
    return octl.schedules.warmup(peak, steps, init_value=init_value)


SCHEDULES = pytest.mark.parametrize("make", [cosine, warmup])


@SCHEDULES
def test_values_are_float32_and_strong(make: Any) -> None:
    schedule = make(10, 1.0, 0.1)
    for step in (3, np.int32(3), jnp.int32(3), jnp.arange(4), 3.0):
        for value in (schedule(step), jax.jit(schedule)(step)):
            assert (value.dtype, value.weak_type) == ("float32", False)
            assert value.shape == np.shape(step)


@SCHEDULES
def test_eager_is_near_jit(make: Any) -> None:
    schedule, steps = make(100, 0.3, 0.7), jnp.arange(-5, 120)
    np.testing.assert_allclose(schedule(steps), jax.jit(schedule)(steps), rtol=1e-5)


@SCHEDULES
@pytest.mark.parametrize("argument", [0, 1, 2])
def test_every_numeric_argument_can_be_swept(make: Any, argument: int) -> None:
    steps, base = jnp.arange(0, 60, 7), [20, 0.25, 0.75]
    values = [[5, 20, 50], [0.0, 0.25, 1.0], [0.5, 0.75, 0.0]][argument]

    def course(value: Any) -> Any:
        return make(*base[:argument], value, *base[argument + 1 :])(steps)

    swept = jax.vmap(course)(jnp.asarray(values))
    alone = [course(value) for value in values]
    np.testing.assert_allclose(swept, alone, rtol=1e-5, atol=1e-6)
    assert len({tuple(np.asarray(row)) for row in alone}) == len(values)


@SCHEDULES
@pytest.mark.parametrize("steps", [100, 2**24 + 1, LAST])
def test_is_clamped_at_both_ends(make: Any, steps: int) -> None:
    schedule = jax.jit(make(steps, 0.1, 0.03))
    for step in (-1, -LAST - 1):
        assert schedule(step) == schedule(0) == np.float32(0.1)
    courses = schedule(jnp.linspace(0, min(2 * steps, LAST), 1000).astype(jnp.int32))
    assert np.all(courses >= 0)
    assert np.all(courses <= np.float32(0.1))


@SCHEDULES
@pytest.mark.parametrize("steps", [0, -1, 2.5, 1e6])
def test_step_counts_are_checked(make: Any, steps: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"`schedules.{make.__name__}\(\w+=...\)` must"
    ):
        make(steps, 1.0, 0.0)
