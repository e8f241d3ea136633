"""Going back inside the step works in every front end."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

import optaxctl as octl
from tests.frontends.conftest import Run, X, Y
from tests.views._steps import bits


def test_a_run_that_breaks_goes_back(start: Callable[[Any], Run]) -> None:
    watch = octl.lasting(2, octl.watch.excess(3.0))
    tx = octl.control(
        optax.adam(0.1),
        octl.respond(watch, rewind=True),
        snapshots=octl.Snapshots(every=4),
    )
    run = start(tx)
    state, passed = run.state, []
    for i in range(14):
        passed.append(bits(run.params(state)))
        state = run.step(state, X, Y + 1e3 * (i in (10, 11)))
        if octl.read(state).rewinds:
            break
    landed = bits(run.params(state))
    if not any(np.any(leaf) for leaf in jax.tree.leaves(run.params(state))):
        landed = bits(run.params(run.step(state, X, Y)))  # a plain update takes two
    # Of what steps 3 and 7 were given, the older is beyond suspicion.
    assert landed == passed[3]
    assert len(run.traces) == 1
