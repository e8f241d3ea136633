"""Signals are read at one door."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optaxctl._core.controllers import read


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float64(2), np.int32(2), jnp.bfloat16(2), jnp.float16(2)]
)
def test_a_signal_is_read_as_float32(value: Any) -> None:
    x = read({"loss": value}, "loss", "stop.x")
    assert (x.dtype, x.weak_type, x.shape, float(x)) == ("float32", False, (), 2.0)


def test_a_signal_must_be_a_scalar() -> None:
    message = (
        r"`stop.x` reads the signal `loss`, which must be a scalar, got shape \(2,\)"
    )
    with pytest.raises(TypeError, match=message):
        jax.eval_shape(lambda x: read({"loss": x}, "loss", "stop.x"), jnp.ones(2))


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        (
            "loss",
            {"valeu": 1.0},
            ["(valeu)", "Pass the loss as `update(..., value=loss)`"],
        ),
        (
            "val_loss",
            {},
            ["(none)", '`control(..., observed=("val_loss",))`', "`observe`"],
        ),
        ("entropy", {"entropie": 1.0}, ["The closest given is `entropie`."]),
        ("loss", {"fresh/loss": True}, ["(none)"]),
    ],
)
def test_a_missing_signal_is_named(name: str, given: Any, words: list[str]) -> None:
    with pytest.raises(TypeError, match=f"`stop.x` reads the signal `{name}`") as error:
        read(given, name, "stop.x")
    for word in words:
        assert word in str(error.value)
