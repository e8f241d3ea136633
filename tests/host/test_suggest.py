"""The five formulas against the ten lines of NumPy that they are elsewhere."""

import jax
import numpy as np
import pytest

from optaxctl.host._suggest import suggest
from tests.host.reference import fastai, lightning

suggested = jax.jit(suggest)


def range_of(steps):
    return (1e-7 * 1e8 ** (np.arange(steps) / steps)).astype(np.float32)


def reference(rates, smoothed, recorded):
    """What the libraries suggest, in float64."""
    rates, smoothed = (np.asarray(x, np.float64) for x in (rates, smoothed))
    begin = len(rates) // 10
    window = np.arange(begin, max(recorded - 5, begin))
    broken = ~np.isfinite(smoothed[window])
    window = window[: broken.argmax()] if broken.any() else window
    found = fastai(rates[window], smoothed[window])
    return [*found, lightning(rates[:recorded], smoothed[:recorded])]


def curve(seed, steps):
    """A fall and a rise, or a mere random walk, with more or less noise."""
    rng = np.random.default_rng(seed)
    t = np.linspace(-3, 3, steps)
    shape = rng.choice([0, 1]) * (np.exp(2 * t - 2) - np.tanh(t))
    walk = np.cumsum(rng.normal(size=steps))
    noise = 10.0 ** rng.integers(-3, 1)
    whole = rng.normal() + shape + noise * walk / np.sqrt(steps)
    return whole.astype(np.float32)


@pytest.mark.parametrize("steps", [20, 27, 100, 130])
@pytest.mark.parametrize("part", [1.0, 0.8, 0.3, 0.05])
def test_suggestions_are_the_formulas(steps, part):
    rates = range_of(steps)
    recorded = round(part * steps)
    for seed in range(12):
        c = curve(seed, steps)
        ours = suggested(rates, c, recorded)
        np.testing.assert_allclose(ours, reference(rates, c, recorded), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [[60], [5], [11], [10], [40, 41, 70], range(50, 100)])
def test_a_hole_ends_fastais_window_and_lightning_leaves_it_out(where, bad):
    rates = range_of(100)
    for seed in range(10):
        c = curve(seed, 100)
        c[list(where)] = bad
        ours = suggested(rates, c, 100)
        np.testing.assert_allclose(ours, reference(rates, c, 100), rtol=1e-6)


@pytest.mark.parametrize("at", [9, 10, 93, 94, 95, 98, 99])
def test_a_fall_at_either_end_counts_where_the_libraries_look(at):
    rates, c = range_of(100), np.linspace(1.9, 2, 100, dtype=np.float32)
    c[at:] -= 100
    np.testing.assert_allclose(suggested(rates, c, 100), reference(rates, c, 100), 1e-6)


def test_a_fall_in_the_first_two_points_alone_suggests_the_first():
    rates = range_of(100)
    rising = np.arange(100, dtype=np.float32)
    rising[10] = 11.5
    assert suggested(rates, rising, 100).valley == rates[10]
