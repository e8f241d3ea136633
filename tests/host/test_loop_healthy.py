"""What a run goes back to was healthy; what was not is kept apart from it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import optaxctl as octl
from tests.host.test_loop import leaves
from tests.host.test_loop_rewind import STEPS, Leave, batches, error, found, train

spike = octl.watch.excess(10.0)


@pytest.mark.parametrize(
    ("rule", "bad", "max_epochs", "tries", "left"),
    [
        (octl.respond(spike, rewind=True), {(1, 5), (3, 5)}, 4, [1, 1], 120),
        (octl.rollback(spike, probation=80), {(1, 5)}, 3, [1], 40),
    ],
    ids=["taken-back", "on-probation"],
)
def test_only_an_epoch_without_a_rewind_or_a_try_is_gone_back_to(
    rule: Any, bad: Any, max_epochs: int, tries: list[int], left: int, tmp_path: Any
) -> None:
    """Rewinds with a healthy epoch in between are not in a row."""
    watched = octl.control(optax.sgd(0.05), rule)

    @jax.jit
    def step(carry: Any, batch: Any) -> Any:
        w, opt_state = carry
        value, grads = jax.value_and_grad(error)(w, *batch)
        return octl.apply_gradients(watched, grads, opt_state, w, value=value)

    records = train(
        tmp_path,
        lambda: {"step": step, "carry": (jnp.zeros(4), watched.init(jnp.zeros(4)))},
        batches=lambda n: batches(n, bad),
        evaluate=lambda carry: {"val_loss": 1.0},
        max_epochs=max_epochs,
        max_rewinds=1,
    )
    assert [r.rewind.tries for r in records if r.rewind] == tries
    assert found(tmp_path) == [left]
    assert found(tmp_path / "interim") == [max_epochs * STEPS]


def test_what_is_sick_is_kept_apart_and_gone_on_from_with_a_warning(
    tmp_path: Any,
) -> None:
    """An alarm that nobody answers, up from within the second epoch on."""
    watched = octl.control(optax.sgd(0.01), octl.watch.divergence())

    @jax.jit
    def step(carry: Any, batch: Any) -> Any:
        w, opt_state = carry
        value, grads = jax.value_and_grad(error)(w, *batch)
        return octl.apply_gradients(watched, grads, opt_state, w, value=value)

    def broken(epoch: int, dies: bool = False) -> Any:
        if dies and epoch == 2:
            raise MemoryError
        return batches(epoch, {(1, n) for n in range(20, STEPS)})

    options = {
        "build": lambda: {
            "step": step,
            "carry": (jnp.zeros(4), watched.init(jnp.zeros(4))),
        },
        "evaluate": lambda carry: {"val_loss": jnp.sum(carry[0] ** 2)},
        "max_epochs": 3,
    }
    whole = list(train(tmp_path / "whole", batches=broken, **options))
    assert [r.emergency for r in whole] == [
        None,
        f"{tmp_path}/whole/emergency/65",
        None,
    ]
    with pytest.raises(MemoryError):
        list(train(tmp_path, batches=lambda n: broken(n, dies=True), **options))
    assert (found(tmp_path), found(tmp_path / "interim")) == ([40], [80])
    cut = tmp_path / "cut"
    with pytest.raises(octl.interrupt.Interrupted):  # risen, and not yet looked at
        list(train(cut, batches=broken, interrupt=Leave(64), **options))
    with pytest.warns(UserWarning, match="goes on from step 64, where"):
        second, third = train(cut, batches=broken, **options)
    assert (second.emergency, third.emergency) == (f"{cut}/emergency/65", None)
    said = r"goes on from step 80, where something was wrong \(divergence\).*delete"
    with pytest.warns(UserWarning, match=said):
        rest = list(train(tmp_path, batches=broken, **options))
    assert (rest, leaves(rest[-1].carry)) == (whole[1:], leaves(whole[-1].carry))
    # It is no news where the run goes on.
    assert [r.emergency for r in rest] == [f"{tmp_path}/emergency/65", None]
