"""How a run ends: inside an epoch, by a rewind it cannot do, with the right reason."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.host.test_loop import STEPS, leaves, told


def test_a_stop_inside_an_epoch_resumes_to_the_same_end(tmp_path):
    """The verdict comes from the loss of the steps, not from an evaluation."""
    stopper = octl.stop.patience(STEPS + 1, monitor="loss")
    tx = octl.control(optax.sgd(0.1), stopper)

    def step(carry, x):
        w, opt_state = carry
        return octl.apply_gradients(tx, jnp.ones(()), opt_state, w, value=1.0)

    def killed_in_epoch_3(n):
        if n == 2:
            raise KeyboardInterrupt
        return range(STEPS)

    def run(directory, batches):
        w = jnp.zeros(())
        with octl.checkpoint.Checkpoints(tmp_path / directory) as checkpoints:
            done = octl.loop.epochs(
                step,
                (w, tx.init(w)),
                batches,
                evaluate=told(3.0, 2.0, 1.0, 0.5),
                max_epochs=4,
                checkpoints=checkpoints,
            )
            return list(done)[-1]

    whole = run("whole", lambda n: range(STEPS))
    with contextlib.suppress(KeyboardInterrupt):
        run("parts", killed_in_epoch_3)
    resumed = run("parts", lambda n: range(STEPS))
    assert (resumed.step, leaves(resumed.carry)) == (whole.step, leaves(whole.carry))


def test_a_request_to_rewind_is_not_passed_over():
    controller = octl.respond(octl.watch.nonfinite("loss"), rewind=True)
    tx = octl.control(optax.sgd(0.1), controller)

    def step(carry, x):
        w, opt_state = carry
        return octl.apply_gradients(tx, jnp.ones(()), opt_state, w, value=np.nan)

    w = jnp.zeros(())
    with pytest.raises(ValueError, match="asked to rewind by step 1"):
        list(
            octl.loop.epochs(
                step, (w, tx.init(w)), lambda n: [0], evaluate=told(1.0), max_epochs=2
            )
        )


@pytest.mark.parametrize("others", [{}, {"slow": octl.stop.patience(99)}])
def test_patience_with_another_signal_is_not_told_as_that_with_the_monitor(others):
    """A rule of the loss stops, when the evaluation was best two checks ago."""
    rule = octl.together(loss=octl.stop.patience(9, monitor="loss"), **others)
    observed = ("val_loss",) if others else ()
    tx = octl.control(optax.sgd(0.1), rule, observed=observed)

    @jax.jit
    def step(carry, x):
        w, opt_state = carry
        return octl.apply_gradients(tx, jnp.ones(()), opt_state, w, value=1.0)

    w = jnp.zeros(())
    *_, last = octl.loop.epochs(
        step,
        (w, tx.init(w)),
        lambda n: range(STEPS),
        evaluate=told(*([9.0] if others else [1.0, 2.0])),
        max_epochs=9,
    )
    assert last.reason.startswith("The monitored signal stopped improving. Stopping")


def test_the_best_of_a_train_state_are_its_params():
    tx = octl.control(optax.sgd(0.1), octl.guard())
    state = octl.linen.TrainState.create(
        apply_fn=None, params={"w": jnp.ones(2)}, tx=tx
    )

    def step(state, x):
        return state.apply_gradients(grads={"w": jnp.ones(2)}, value=1.0)

    *_, last = octl.loop.epochs(
        step, state, lambda n: [0], evaluate=told(2.0, 3.0), max_epochs=2
    )
    np.testing.assert_allclose(last.best_params["w"], [0.9, 0.9])
