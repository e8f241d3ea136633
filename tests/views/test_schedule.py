"""`as_schedule` makes a rate that Optax's injection shows and a controller moves."""

from typing import Any

import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, gradients, one, scripted, stepper


def rates(rate: Any, losses: list[float]) -> tuple[list[float], list[float]]:
    """Returns the rate that Optax shows after every step, and the one that acted."""
    tx: Any = optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    step, params, state = stepper(tx), PARAMS, tx.init(PARAMS)
    shown, acted = [], []
    for loss in losses:
        new, state = step(gradients(0), state, params, value=loss)
        shown.append(float(state.hyperparams["learning_rate"]))
        acted.append(float(((params["w"] - new["w"]) / gradients(0)["w"])[0, 0]))
        params = new
    return shown, acted


def test_the_rate_answers_the_loss_of_the_same_step() -> None:
    plateau = octl.lr.plateau(2, factor=0.5, monitor="loss")
    shown, acted = rates(octl.as_schedule(plateau, 0.1), [1.0, 1.0, 1.0, 0.5, 0.5])
    np.testing.assert_allclose(shown, [0.1, 0.1, 0.05, 0.05, 0.05], rtol=1e-6)
    np.testing.assert_allclose(acted, shown, rtol=1e-5)


def test_the_controller_scales_the_base_schedule() -> None:
    base = lambda step: 0.1 * (step + 1)
    shown, _ = rates(octl.as_schedule(scripted(lr_scale="loss"), base), [1.0, 2.0, 0.5])
    np.testing.assert_allclose(shown, [0.1, 0.4, 0.15], rtol=1e-6)


def test_its_state_is_read_and_observed_like_any_other() -> None:
    plateau = octl.lr.plateau(2, monitor="loss")
    rate = octl.as_schedule(plateau, 0.1)
    tx: Any = optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
    step, state = stepper(tx), tx.init(PARAMS)
    _, state = step(gradients(0), state, PARAMS, value=3.0)
    seen = octl.read(state)
    assert seen.step == 1
    assert seen.gauges["to_beat"] == pytest.approx(3 * (1 - 1e-4))


@pytest.mark.parametrize("field", ["clip_norm", "skip", "stop", "alarm"])
def test_a_decision_that_would_be_ignored_is_refused(field: str) -> None:
    with pytest.raises(TypeError, match=f"moves {field}. Use `control`"):
        rates(octl.as_schedule(one(**{field: 1}), 0.1), [1.0])
