"""What controllers have learnt outlives a change of controllers in every front end."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

import optaxctl as octl
from tests.frontends.conftest import Run, X, Y
from tests.frontends.test_frontends import INNERS, bits, control_state, optimizer


def changed() -> Any:
    """As in the other tests, but `rate` is gone, `stop` is `halt` and `limit` new."""
    controller = octl.together(
        guard=octl.guard(),
        clip=octl.clip.zscore(warmup_updates=3),
        halt=octl.stop.patience(4),
        limit=octl.clip.quantile(),
    )
    return octl.control(INNERS["injected"], controller, observed=("val_loss",))


def test_a_control_that_grew_goes_on_where_the_old_one_was(
    start: Callable[[Any], Run], tmp_path: Path
) -> None:
    run, grown = start(optimizer()), start(changed())
    old = run.state
    for loss in (1.0, 1.0, 1.0):
        old = octl.observe(old, val_loss=loss)
        old = run.step(old, X, Y)
    old = run.step(old, X * jnp.nan, Y)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, run.pure(old))

    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="is of other controllers") as said:
            tree, _ = checkpoints.restore(
                grown.pure(grown.state), renamed={"stop": "halt"}
            )
        new = grown.restore(grown.state, tree)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            same, _ = checkpoints.restore(run.pure(start(optimizer()).state))
    (message,) = [str(warning.message) for warning in said]
    assert message.endswith(
        ": `limit` is new and starts at its beginning; `rate` is gone and was dropped."
    )

    before, after = control_state(old).content(), control_state(new).content()
    assert bits(after.controller["halt"]) == bits(before.controller["stop"])
    assert bits(after.controller["clip"]) == bits(before.controller["clip"])
    fresh = start(changed()).state
    unlearnt = control_state(fresh).content().controller["limit"]
    assert bits(after.controller["limit"]) == bits(unlearnt)
    assert bits(control_state(new).inner) == bits(control_state(old).inner)
    assert bits(grown.params(new)) == bits(run.params(old))
    reading = octl.read(new)
    assert (reading.step, reading.refused) == (4, 1)
    assert reading.gauges["halt/patience_left"] == 2
    assert bits(same) == bits(run.pure(old))
