"""The verdict on a curve: is there a minimum, which rate, and in which words."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import optaxctl as octl
from tests.host.test_lr_find import ENDLESS, course, replayed

STEPS = 100
DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS, LABELS = (DIGITS / 16).astype(np.float32), LABELS.astype(np.int32)
OPTIMIZERS = {
    "adamw": optax.adamw,
    "sgd": optax.sgd,
    "momentum": lambda lr: optax.sgd(lr, momentum=0.9),
}


def digits(seed, steps=STEPS, size=64):
    rows = np.random.default_rng(seed).integers(0, len(DIGITS), (steps, size))
    return DIGITS[rows], LABELS[rows]


def network(seed):
    """Two hidden layers; the keys order them."""
    shapes = {"a": (64, 128), "b": (128, 128), "c": (128, 10)}
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        name: jax.random.normal(key, shape) * np.sqrt(2 / shape[0])
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def cross_entropy(params, batch):
    images, labels = batch
    hidden = jax.nn.relu(images @ params["a"])
    logits = jax.nn.relu(hidden @ params["b"]) @ params["c"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def trained(optimizer, *rates):
    """The mean loss of the last 50 of 300 steps at each rate."""

    def step(carry, batch):
        params, state, rate = carry
        loss, grads = jax.value_and_grad(cross_entropy)(params, batch)
        updates, state = optimizer(rate).update(grads, state, params)
        return (optax.apply_updates(params, updates), state, rate), loss

    @jax.jit
    def run(rate):
        begin = network(0), optimizer(rate).init(network(0)), rate
        return jax.lax.scan(step, begin, digits(1, steps=300))[1][-50:].mean()

    return [float(run(rate)) for rate in rates]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_on_digits_the_suggested_rate_trains_and_100_times_off_does_not(name):
    optimizer = OPTIMIZERS[name]
    found = octl.lr_find(cross_entropy, network(0), digits(0), optimizer=optimizer)
    assert found.clear
    rate = found.suggestion
    assert rate == found.minimum
    rates = rate, found.ceil, rate / 100, rate * 100
    good, top, low, high = trained(optimizer, *rates)
    assert good < min(low, high) / 2
    assert top < found.losses[0] / 4
    assert found.floor < rate < found.ceil < 10 * rate


def test_the_range_bounds_a_controller():
    found = octl.lr_find(cross_entropy, network(0), digits(0))
    plateau = octl.lr.plateau(1, monitor="loss", floor=found.floor / found.suggestion)
    losses = {"loss": jnp.ones(20)}
    scale = octl.replay(plateau, losses).decisions.lr_scale[-1]
    assert scale * found.suggestion == pytest.approx(found.floor)


NOISE = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: np.exp(rng.normal(size=shape)),
    "heavy": lambda rng, shape: rng.standard_t(3, shape),
}


@pytest.mark.parametrize("kind", NOISE)
def test_pure_noise_has_no_minimum(kind):
    losses = NOISE[kind](np.random.default_rng(0), (1000, STEPS))
    found = jax.vmap(lambda x: replayed(x, diverge=ENDLESS))(losses)
    assert np.mean(found.fell) < 0.01


CURVES = {
    "flat": np.full(STEPS, 2.0),
    "zero": np.zeros(STEPS),
    "rising": np.linspace(1, 1.5, STEPS),
    "exploding": np.exp(np.linspace(0, 9, STEPS)),
    "broken from the start": np.full(STEPS, np.nan),
    "broken before it is judged": np.r_[3, 2, 1, np.full(STEPS - 3, np.nan)],
}


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_that_does_not_fall_is_not_clear(name):
    found = replayed(CURVES[name])
    assert not found.fell
    assert not found.clear
    assert all(math.isnan(x) for x in (found.suggestion, found.floor, found.ceil))
    assert found.summary().startswith("No clear minimum: ")


def test_a_loss_that_falls_to_the_end_asks_for_higher_rates():
    found = replayed(np.linspace(2, 1, STEPS), end_lr=1e-3)
    assert found.fell
    assert not found.turned
    assert math.isnan(found.suggestion)
    assert found.summary() == (
        "No minimum inside the range: the loss still falls at 9.1e-04. Raise `end_lr`."
    )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("offset", [0.0, -2.0, -100.0])
@pytest.mark.parametrize(("fall", "clear"), [(1.0, True), (0.01, False)])
def test_verdict_knows_no_scale_and_no_sign(scale, offset, fall, clear):
    losses = scale * (course(fall=fall, noise=0.1) + offset)
    found = replayed(losses.astype(np.float32), diverge=ENDLESS)
    assert found.clear == clear


def test_what_is_clear_is_said():
    found = replayed(course())
    floor, ceil, rate = found.floor, found.ceil, found.suggestion
    last = found.learning_rates[np.sum(found.valid) - 1]
    assert np.sum(found.valid) < STEPS
    assert found.summary() == (
        f"The loss falls between {floor:.1e} and {ceil:.1e} and diverges above "
        f"{last:.1e}; start with {rate:.1e}."
    )
    slow = replayed(course(), diverge=ENDLESS)
    assert "rises after that; start with" in slow.summary()


def test_ends_of_the_range_are_a_tenth_and_four_fifths_of_the_fall():
    straight = np.r_[np.full(20, 2.0), np.linspace(2, 1, 61), np.full(19, 60.0)]
    straight[0] = 0.9  # before fastai starts to look
    found = replayed(straight, smoothing=0.0)
    rates = found.learning_rates
    assert (found.floor, found.ceil) == (rates[26], rates[68])


def test_ends_of_the_range_enclose_the_suggestion():
    # Falls late, so that a tenth of the lowest point's rate lies before the fall.
    late = np.r_[np.linspace(2, 1.99, 80), np.linspace(1.9, 0, 10), np.full(10, 60.0)]
    # Falls at once and then a little, so that it lies beyond nearly all of the fall.
    soon = np.r_[np.full(11, 2.0), np.linspace(0, -0.1, 79), np.full(10, 60.0)]
    for losses in (late, soon):
        found = replayed(losses, smoothing=0.0)
        assert found.clear
        assert found.suggestion in (found.floor, found.ceil)


def test_of_several_runs_the_median_of_the_clear_ones_counts():
    clear = np.stack([np.r_[np.full(k, 2.0), course()][:STEPS] for k in range(4)])
    runs = np.concatenate([clear, np.full((2, STEPS), 2.0)])
    found = jax.vmap(replayed)(runs)
    assert np.asarray(found.clear).tolist() == [True] * 4 + [False] * 2
    assert found.suggestion == np.sort(found.minimum[:4])[1]
    assert found.floor < found.suggestion < found.ceil
    assert found.summary().startswith("4 of 6 runs are clear. The loss falls between ")


def test_only_the_clear_runs_are_spoken_of():
    runs = np.stack([course(), CURVES["broken before it is judged"]])
    found = jax.vmap(lambda x: replayed(x, diverge=ENDLESS))(runs)
    said = found.summary()
    assert said.startswith("1 of 2 runs are clear.")
    assert "rises after that; start with" in said


def test_of_several_runs_none_may_be_clear():
    found = jax.vmap(replayed)(np.full((3, STEPS), 2.0))
    assert math.isnan(found.suggestion)
    assert found.summary() == (
        "No clear minimum: the loss never fell by more than its own noise between "
        "1.0e-07 and 8.3e+00. Use larger batches or more of them, or a lower "
        "`start_lr`."
    )
