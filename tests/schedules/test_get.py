"""Finding a schedule by its name, and what else it moves."""

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from optaxctl.schedules._peers import PEERS
from optaxctl.schedules._torch import TORCH

get, hyperparams = octl.schedules.get, octl.schedules.hyperparams
STEPS = jnp.arange(120)


def test_a_name_of_ours_takes_our_arguments() -> None:
    found = get("cosine", decay_steps=100, init_value=0.1)
    mine = octl.schedules.cosine(100, init_value=0.1)
    np.testing.assert_array_equal(found(STEPS), mine(STEPS))


def test_a_schedule_of_schedules_too() -> None:
    body = get("cosine", decay_steps=100)
    found = get("warmup", schedule=body, warmup_steps=10)
    mine = octl.schedules.warmup(body, 10)
    np.testing.assert_array_equal(found(STEPS), mine(STEPS))


@pytest.mark.parametrize("name", TORCH)
def test_torch_is_a_factor_without_a_rate(name: str) -> None:
    needed: dict[str, dict[str, Any]] = {
        "CosineAnnealingLR": {"T_max": 50},
        "CosineAnnealingWarmRestarts": {"T_0": 50},
        "CyclicLR": {"base_lr": 0.1, "max_lr": 1.0},
        "ExponentialLR": {"gamma": 0.9},
        "LambdaLR": {"lr_lambda": lambda step: 0.9**step},
        "MultiStepLR": {"milestones": [30, 60]},
        "MultiplicativeLR": {"lr_lambda": lambda step: 0.9, "total_iters": 100},
        "OneCycleLR": {"max_lr": 1.0, "epochs": 10, "steps_per_epoch": 10},
        "StepLR": {"step_size": 30},
        "SWALR": {"swa_lr": 0.5},
    }
    values = np.asarray(get(name, **needed.get(name, {}))(STEPS))
    assert values.min() >= 0
    assert np.ptp(values) > 0
    assert values.max() <= 1


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cosin", {}, "no schedule of optaxctl or torch. .* Did you mean `cosine`?"),
        ("StepLr", {}, "Did you mean `StepLR`?"),
        ("CosineDecay", {}, "keras's CosineDecay is `schedules.cosine` here"),
        ("wsd", {}, "timm's wsd is `schedules.warmup_stable_decay` here"),
        ("times", {}, "takes its schedules by position"),
        ("ReduceLROnPlateau", {}, "the controller `lr.plateau`"),
        ("(of", {}, "no schedule of optaxctl"),
        (None, {}, "no schedule of optaxctl"),
        ("StepLR", {"step_size": 3, "momentum": 0.9}, "takes no `momentum`"),
        ("cosine", {"decay_steps": 3, "momentum": "b1"}, "takes no `momentum`"),
        ("CosineAnnealingLR", {"T_max": 0}, r"get\('CosineAnnealingLR'\)`: .*got 0"),
        ("OneCycleLR", {"max_lr": "0.1", "total_steps": 9}, "max_lr=...\\)` must be"),
        (
            "OneCycleLR",
            {"max_lr": 0.1, "total_steps": 9, "div_factor": 0},
            "div_factor=...\\)` must be > 0",
        ),
        ("Units", {}, "no schedule"),
        ("cosine", {}, "needs `decay_steps`. It takes decay_steps, init_value"),
        ("StepLR", {"step_sise": 3}, "takes no `step_sise`. .*mean `step_size`?"),
        ("StepLR", {"step_size": 0}, "must be"),
        ("SWALR", {"swa_lr": 0.1, "anneal_strategy": "cosine"}, "'cos' or 'linear'"),
        ("OneCycleLR", {"max_lr": 0.1}, "needs `total_steps`, or `epochs`"),
    ],
)
def test_what_is_wrong_is_named(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        get(name, **arguments)


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
def test_momentum_cycles_against_the_rate(name: str) -> None:
    lengths = {"OneCycleLR": {"total_steps": 100}, "CyclicLR": {"step_size_up": 30}}
    given: dict[str, Any] = {"max_lr": 1.0, **lengths[name]}
    given |= {"base_lr": 0.1} if name == "CyclicLR" else {}
    found = hyperparams(name, **given)
    rate, momentum = (
        np.asarray(found[n](STEPS)) for n in ("learning_rate", "momentum")
    )
    assert rate.argmax() == momentum.argmin()
    alone = hyperparams(name, **given, cycle_momentum=False)
    assert alone.keys() == {"learning_rate"}
    np.testing.assert_array_equal(get(name, **given)(STEPS), rate)


def test_the_whole_cycle_goes_into_an_optimizer_in_one_line() -> None:
    cycle = hyperparams("OneCycleLR", max_lr=0.1, total_steps=60, momentum="b1")
    plain: Any = optax.inject_hyperparams(optax.adam)(**cycle)
    ours = octl.control(octl.inject(optax.adam, **cycle), octl.guard())
    params = {"w": jnp.ones(3)}
    state, controlled = plain.init(params), ours.init(params)
    moved: Any = params
    steered: Any = params
    for step in range(50):
        grads = {"w": jnp.sin(jnp.arange(3.0) + step)}
        updates, state = plain.update(grads, state, moved)
        moved = optax.apply_updates(moved, updates)
        updates, controlled = ours.update(grads, controlled, steered, value=1.0)
        steered = optax.apply_updates(steered, updates)
        for name, schedule in cycle.items():
            np.testing.assert_allclose(state.hyperparams[name], schedule(step))
    np.testing.assert_allclose(moved["w"], steered["w"], rtol=1e-5)


def test_peers_are_those_of_public_schedules() -> None:
    assert PEERS.keys() <= set(octl.schedules.__all__)
    named = {name for peers in PEERS.values() for name in [peers.get("torch")]}
    composed = {"SequentialLR", "ChainedScheduler"}
    assert TORCH.keys() == {name for name in named if name} - composed


@pytest.mark.parametrize("names", [p["optax"] for p in PEERS.values() if "optax" in p])
def test_what_optax_is_said_to_have_it_has(names: str) -> None:
    for name in re.split(", ", names):
        assert callable(getattr(optax, name))
