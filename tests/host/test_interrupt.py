"""A signal is a checkpoint at the next step, and the run goes on from there."""

import signal
import subprocess
import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.host.test_checkpoint import assert_same_bits
from tests.scale._launch import together

TX = octl.control(
    octl.inject(optax.adam, learning_rate=0.1),
    octl.together(rate=octl.lr.plateau(1, factor=0.5), clip=octl.clip.auto()),
    observed=("val_loss",),
)


@jax.jit
def step(carry: Any, x: Any) -> Any:
    w, state = carry
    loss, grads = jax.value_and_grad(lambda w: jnp.mean((w - x) ** 2))(w)
    return octl.apply_gradients(TX, grads, state, w, value=loss)


def steps(directory: Any) -> list[int]:
    with octl.checkpoint.Checkpoints(directory) as checkpoints:
        return checkpoints.steps()


def epochs(
    directory: Any, interrupt: Any, at: int | None = None, length: int = 4
) -> list[Any]:
    """Trains 3 epochs of 4 batches; a signal comes before batch `at` of them all."""
    count = 0

    def batches(n: int) -> Any:
        nonlocal count
        for row in np.random.default_rng(n).normal(size=(length, 3)).astype("f4"):
            if count == at:
                signal.raise_signal(signal.SIGTERM)
            count += 1
            yield row

    w = jnp.zeros(3)
    with octl.checkpoint.Checkpoints(directory, best="val_loss") as checkpoints:
        loop = octl.loop.epochs(
            step,
            (w, TX.init(w)),
            batches,
            evaluate=lambda carry: {"val_loss": jnp.sum(carry[0] ** 2)},
            max_epochs=3,
            checkpoints=checkpoints,
            interrupt=interrupt,
        )
        return list(loop)


@pytest.mark.parametrize("at", [0, 2, 3, 4, 7, 11])
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(
    tmp_path: Any, at: int
) -> None:
    whole = epochs(tmp_path / "whole", None)
    with (
        octl.interrupt.Interrupt() as interrupt,
        pytest.raises(octl.interrupt.Interrupted, match="SIGTERM came; ever") as left,
    ):
        epochs(tmp_path / "cut", interrupt, at)
    assert left.value.code == 0
    assert f"saved at step {at + 1}, where" in str(left.value)
    with octl.interrupt.Interrupt() as interrupt:
        rest = epochs(tmp_path / "cut", interrupt)
    # An epoch is told after the first step of the next; what was told is not again.
    assert [r.number for r in rest] == [1, 2, 3][at // 4 :]
    assert_same_bits(rest[-1].carry, whole[-1].carry)
    assert_same_bits(rest[-1].best_params, whole[-1].best_params)
    assert rest[-1] == whole[-1]
    assert steps(tmp_path / "cut") == steps(tmp_path / "whole")


def test_what_followed_a_checkpoint_that_is_discarded_is_not_gone_on_from(
    tmp_path: Any,
) -> None:
    with (
        octl.interrupt.Interrupt() as interrupt,
        pytest.raises(octl.interrupt.Interrupted, match="saved at step 10"),
    ):
        epochs(tmp_path, interrupt, 9)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.discard(after=4)
    with pytest.warns(
        UserWarning, match=r"8 is gone.*`interim/10`, is del.* from step 4\."
    ):
        rest = epochs(tmp_path, None)
    assert ([r.number for r in rest], steps(tmp_path / "interim")) == ([1, 2, 3], [])


def test_fewer_batches_than_when_it_was_interrupted_are_refused(tmp_path: Any) -> None:
    with (
        octl.interrupt.Interrupt() as interrupt,
        pytest.raises(octl.interrupt.Interrupted),
    ):
        epochs(tmp_path, interrupt, 6)
    said = r"`batches\(1\)` gave 2, and the checkpoint is after 3\."
    with pytest.raises(ValueError, match=said):
        epochs(tmp_path, None, length=2)


def test_the_second_signal_is_what_it_was_before() -> None:
    before = [signal.getsignal(s) for s in octl.interrupt.SIGNALS]
    with octl.interrupt.Interrupt() as interrupt:
        assert not interrupt.reached(0)
        signal.raise_signal(signal.SIGINT)
        assert (interrupt.reached(1), interrupt.name) == (True, "SIGINT")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(s) for s in octl.interrupt.SIGNALS] == before
    with interrupt:
        assert (interrupt.reached(1), interrupt.name) == (False, None)
    assert [signal.getsignal(s) for s in octl.interrupt.SIGNALS] == before


def test_a_handler_that_is_not_its_own_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with octl.interrupt.Interrupt():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


PROGRAM = """
import signal, optaxctl as octl
with octl.interrupt.Interrupt() as interrupt:
    for _ in range(SIGNALS):
        signal.raise_signal(signal.SIGTERM)
    assert interrupt.reached(1)
    raise octl.interrupt.Interrupted("saved")
"""


@pytest.mark.parametrize(("signals", "status"), [(1, 0), (2, -signal.SIGTERM)])
def test_a_process_told_to_leave_ends_well_and_at_once_if_told_twice(
    signals: int, status: int
) -> None:
    program = PROGRAM.replace("SIGNALS", str(signals))
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    assert ended.returncode == status


def test_it_takes_the_place_of_jax_and_gives_it_back() -> None:
    """Under `jax.distributed` both listen for SIGTERM, also in a single process."""
    (end,) = together(1, program="_signals")
    assert (end.status, end.reports) == (-signal.SIGTERM, [{}]), end.errors


def test_what_it_needs_is_said() -> None:
    w = jnp.zeros(3)
    loop = octl.loop.epochs(
        step,
        (w, TX.init(w)),
        lambda n: [],
        evaluate=lambda carry: {},
        max_epochs=1,
        interrupt=octl.interrupt.Interrupt(),
    )
    with pytest.raises(ValueError, match="needs `checkpoints` to save in"):
        next(loop)
    caught: list[str] = []

    def enter() -> None:
        try:
            octl.interrupt.Interrupt().__enter__()
        except ValueError as error:
            caught.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "must be entered in the main thread" in caught[0]
