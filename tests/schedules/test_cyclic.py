"""What `cyclic` does with arguments that matter together only."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from tests.schedules import references

STEPS = jnp.arange(120)
COMMON: dict[str, Any] = {"step_size_up": 10, "step_size_down": 5, "max_value": 2.0}
LAW = {"scale_fn": lambda x: 1 / (1.0 + x)}


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "exp_range", "gamma": 0.99},
        {"mode": "exp_range", "gamma": 1.01},
        {"scale_mode": "iterations", **LAW},
        {"scale_mode": "cycle", **LAW},
        {"mode": "triangular2", **LAW},
        {"base_value": 0.9, "max_value": 0.8},
    ],
)
def test_matches_the_reference(arguments: dict[str, Any]) -> None:
    given = {**COMMON, **arguments}
    expected = [references.cyclic(step, **given) for step in range(120)]
    actual = octl.schedules.cyclic(**given)(STEPS)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6 * max(expected))


def test_gamma_can_be_swept() -> None:
    def course(gamma: Any) -> Any:
        return octl.schedules.cyclic(10, mode="exp_range", gamma=gamma)(STEPS)

    gammas = jnp.asarray([0.5, 0.99, 1.0])
    alone = [course(float(gamma)) for gamma in gammas]
    np.testing.assert_allclose(jax.vmap(course)(gammas), alone, atol=1e-5)


def test_a_function_replaces_the_mode() -> None:
    plain = octl.schedules.cyclic(10, scale_fn=LAW["scale_fn"])
    other = octl.schedules.cyclic(10, scale_fn=LAW["scale_fn"], mode="triangular2")
    np.testing.assert_array_equal(plain(STEPS), other(STEPS))
