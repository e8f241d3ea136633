"""Every example runs, and says what it did."""

import pathlib
import runpy

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"

SAYS = {
    "raw_optax": ["refused 1  alarms nonfinite_loss, nonfinite_gradient", "final loss"],
    "linen_train_state": ["stopped by patience", "accuracy 9"],
    "nnx_optimizer": ["step 600", "learning rate", "patience left"],
    "equinox_model": ["learning rate 1e-03", "three rates, 1 trace"],
    "lr_find_digits": ["The loss falls between", "test accuracy 9"],
    "adaptive_lr": ["search over, the rate is", "increase, 1.10 times the rate"],
    "moe_groups": ["loss 0.", "router   learning rate", "times its start, after"],
    "population": [
        "seed 31, epoch 1",
        "val_loss has not beaten 0.",
        "Each is its single run bit for bit: True",
        "Side by side the same epochs: True",
        "and the same parameters: True",
    ],
    "self_healing": [
        "step 102: back to a healthy state, rate x 1",
        "step 200: refused, nonfinite_loss",
        "alone: loss nan, supervised: loss 0.",
    ],
    "haiku_model": ["alarms: loss_spike, gradient_spike", "299 steps, 1 refused"],
}


def test_every_example_is_here():
    # The digits run has its own test: it is the main job.
    found = {path.stem for path in EXAMPLES.glob("*.py")} - {"digits_nnx"}
    assert found == set(SAYS)


@pytest.mark.newest
@pytest.mark.parametrize("name", SAYS)
def test_an_example_is_short_and_says_what_it_did(name, capsys):
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text().splitlines()) < 80
    runpy.run_path(str(path))["main"]()
    printed = capsys.readouterr().out
    for words in SAYS[name]:
        assert words in printed
