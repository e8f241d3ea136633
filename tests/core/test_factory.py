"""A controller says how it was made, in the words of the code that made it."""

from typing import Any

import jax
import jax.numpy as jnp

import optaxctl as octl


def usable(signals: Any) -> Any:
    return signals["loss"] > 0


def test_a_controller_is_spelt_as_it_was_made() -> None:
    spelt = {
        "stop.patience(5)": octl.stop.patience(5, monitor="val_loss"),
        "stop.patience(5, mode='max', rtol=0.25)": octl.stop.patience(
            jnp.int32(5), mode="max", rtol=jnp.float32(0.25)
        ),
        "lasting(3, watch.nonfinite('loss', 'val_loss'))": octl.lasting(
            3, watcher=octl.watch.nonfinite("loss", "val_loss")
        ),
        "together(a=guard(), b=stop.like_keras(2))": octl.together(
            a=octl.guard(), b=octl.stop.like_keras(2)
        ),
        "when(usable, clip.auto())": octl.when(usable, octl.clip.auto()),
        "lr.automatic(9, usual={'floor': 0.1})": octl.lr.automatic(
            9, usual={"floor": 0.1}
        ),
        "Controller(signals=['val_loss'])": octl.stop.patience(5)._replace(call=None),
    }
    assert {repr(controller) for controller in spelt.values()} == set(spelt)


def test_a_traced_argument_is_no_number() -> None:
    said = []

    def make(patience):
        said.append(repr(octl.stop.patience(patience)))
        return patience

    jax.jit(make)(3)
    assert said == ["stop.patience(traced)"]
