"""Epochs, examples, tokens and shares of a run as steps."""

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

import optaxctl as octl

Units = octl.schedules.Units


def test_every_unit() -> None:
    run = Units(
        batch_size=128,
        examples_per_epoch=50_000,
        tokens_per_example=1024,
        total_steps=10_000,
    )
    assert run.steps_per_epoch == 390
    assert run.epochs(3) == 1170
    assert run.epochs(0.1) == 39
    assert run.examples(128_000) == 1000
    assert run.tokens(1e9) == round(1e9 / (128 * 1024))
    assert run.fraction(0.05) == 500


@given(
    batch=st.integers(1, 1000),
    examples=st.integers(1, 10**7),
    epochs=st.integers(0, 99),
)
def test_epochs_are_whole_batches(batch: int, examples: int, epochs: int) -> None:
    kept = Units(batch_size=batch, examples_per_epoch=examples, drop_last=False)
    assert kept.epochs(epochs) == epochs * math.ceil(examples / batch)
    if examples >= batch:
        dropped = Units(batch_size=batch, examples_per_epoch=examples)
        assert dropped.epochs(epochs) == epochs * (examples // batch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size=...\\)` must be >= 1"),
        ({"batch_size": 2.5}, "batch_size=...\\)` must be a whole number"),
        ({"batch_size": 8, "total_steps": -1}, "total_steps"),
        ({"batch_size": 8, "examples_per_epoch": 7}, "no step in an epoch of 7"),
    ],
)
def test_bad_attributes_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Units(**arguments)


@pytest.mark.parametrize("unit", ["epochs", "tokens", "fraction"])
def test_what_a_conversion_lacks_is_named(unit: str) -> None:
    with pytest.raises(ValueError, match=f"Units.{unit}` needs `"):
        getattr(Units(batch_size=8), unit)(1)


def test_lengths_out_of_range_are_refused() -> None:
    run = Units(batch_size=8, total_steps=100)
    with pytest.raises(ValueError, match="share"):
        run.fraction(1.5)
    with pytest.raises(ValueError, match="examples"):
        run.examples(-1)
