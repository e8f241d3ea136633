"""`clip_by`, `scale_by` and `skip_if` have one effect each."""

from typing import Any

import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, bits, broken, gradients, one, stepper


def test_clip_by_clips_before_the_optimizer() -> None:
    ours: Any = optax.chain(octl.clip_by(one(clip_norm=1.0)), optax.adam(0.1))
    theirs: Any = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))
    p, q, s, t = PARAMS, PARAMS, ours.init(PARAMS), theirs.init(PARAMS)
    for index in range(3):
        p, s = stepper(ours)(gradients(index), s, p)
        q, t = stepper(theirs)(gradients(index), t, q)
    np.testing.assert_allclose(p["w"], q["w"], rtol=0, atol=2**-21)
    assert octl.read(s).clipped == 3


def test_clip_by_ignores_a_nan_limit_and_passes_a_nan_gradient_on() -> None:
    tx: Any = octl.clip_by(one(clip_norm=np.nan))
    updates, _ = tx.update(gradients(0), tx.init(PARAMS))
    assert bits(updates) == bits(gradients(0))
    updates, _ = tx.update(broken(), tx.init(PARAMS))
    assert np.all(np.isnan(updates["w"]))


def test_scale_by_scales_after_the_optimizer() -> None:
    tx: Any = optax.chain(optax.adam(0.1), octl.scale_by(one(lr_scale=0.5)))
    plain: Any = optax.adam(0.05)
    ours, _ = stepper(tx)(gradients(0), tx.init(PARAMS), PARAMS)
    theirs, _ = stepper(plain)(gradients(0), plain.init(PARAMS), PARAMS)
    np.testing.assert_allclose(ours["w"], theirs["w"], rtol=0, atol=2**-23)


def test_the_loss_reaches_a_view_inside_a_chain() -> None:
    rate = octl.lr.plateau(2, factor=0.5, monitor="loss")
    tx: Any = optax.chain(optax.adam(0.1), octl.scale_by(rate))
    step, params, state, scales = stepper(tx), PARAMS, tx.init(PARAMS), []
    for loss in (1.0, 1.0, 1.0, 1.0):
        params, state = step(gradients(0), state, params, value=loss)
        scales.append(octl.read(state).lr_scale)
    assert scales == [1, 1, 0.5, 0.5]


def test_skip_if_leaves_the_optimizer_alone() -> None:
    tx: Any = optax.chain(octl.skip_if(octl.guard("grad_norm"), optax.adam(0.1)))
    step = stepper(tx)
    params, state = step(gradients(0), tx.init(PARAMS), PARAMS)
    after, refused = step(broken(), state, params)
    assert bits(after) == bits(params)
    assert bits(refused[0].inner) == bits(state[0].inner)
    assert octl.read(refused).refused == 1


@pytest.mark.parametrize(
    ("view", "takes"),
    [
        (octl.clip_by, {"clip_norm"}),
        (octl.scale_by, {"lr_scale"}),
        (lambda c: octl.skip_if(c, optax.sgd(0.1)), {"skip", "alarm"}),
    ],
    ids=["clip_by", "scale_by", "skip_if"],
)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr_scale", 0.5),
        ("clip_norm", 1.0),
        ("skip", True),
        ("rewind", True),
        ("stop", 1),
        ("alarm", 1),
        ("knobs", {"dropout": 0.5}),
    ],
)
def test_a_decision_that_would_be_ignored_is_refused(
    view: Any, takes: set[str], field: str, value: Any
) -> None:
    def use() -> None:
        tx: Any = view(one(**{field: value}))
        tx.update(gradients(0), tx.init(PARAMS), PARAMS)

    if field in takes:
        use()
    else:
        with pytest.raises(TypeError, match=rf"only, and .* moves {field}\."):
            use()
