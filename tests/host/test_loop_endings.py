"""How a run ends: inside an epoch, by a rewind it cannot do, with the right reason."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.host.test_loop import STEPS, leaves, pytree, told


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


def test_the_epoch_that_ends_the_run_is_told_when_it_is_saved(tmp_path):
    """And half a save, which a live process may be at, stays until the first save."""
    log, half = [], tmp_path / "99.orbax-checkpoint-tmp"
    half.mkdir()

    class Logged(octl.checkpoint.Checkpoints):
        def save(self, *arguments, **options):
            super().save(*arguments, **options)
            log.append("save")

        def wait(self):
            super().wait()
            log.append("wait")

    def batches(n):
        log.append(half.exists())
        return range(STEPS)

    run = pytree()
    with Logged(tmp_path) as checkpoints:
        epochs = octl.loop.epochs(
            **{**run, "batches": lambda n: batches(n) and run["batches"](n)},
            evaluate=told(2.0),
            max_epochs=2,
            checkpoints=checkpoints,
        )
        log.extend(epoch.number for epoch in epochs)
    assert [x for x in log if x != "wait"] == [True, "save", False, 1, "save", 2]
    assert log[log.index(2) - 1] == "wait"


def test_many_runs_in_one_carry_are_refused():
    tx = octl.control(optax.sgd(0.1), octl.guard())
    carry = jnp.zeros((3, 2)), jax.vmap(tx.init)(jnp.zeros((3, 2)))
    run = {**pytree(), "carry": carry}
    with pytest.raises(ValueError, match=r"one run, and the .* is vmapped over 3"):
        next(octl.loop.epochs(**run, evaluate=told(1.0), max_epochs=1))


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
