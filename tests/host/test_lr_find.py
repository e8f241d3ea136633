"""The range test: what it computes, when it ends, and that it touches nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl

ENDLESS = 1e30  # a `diverge` that no curve here reaches


def loss_fn(w, x):
    return jnp.mean((x @ (w - 1)) ** 2)


def data(seed=0, steps=100):
    return jax.random.normal(jax.random.key(seed), (steps, 32, 4))


@jax.jit
def replayed(losses, **options):
    """A test whose losses are these, whatever is learnt."""
    return octl.lr_find(lambda w, loss: loss + 0 * w, 0.0, losses, **options)


def course(fall=1.0, noise=0.03, level=2.0, seed=0, steps=100):
    """Level, fall and rise, as of a real run."""
    t = np.linspace(-6, 3, steps)
    rise = np.exp(np.minimum(5 * t - 9, 6))
    shape = level - fall / (1 + np.exp(-2 * t)) + rise
    rng = np.random.default_rng(seed)
    return (shape + noise * rng.normal(size=steps)).astype(np.float32)


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_params_and_batches_are_untouched():
    params, x = {"w": jnp.arange(4.0)}, data()
    before = jax.tree.map(np.array, (params, x))
    octl.lr_find(lambda p, x: loss_fn(p["w"], x), params, x)
    equal((params, x), before)
    find = lambda p: octl.lr_find(lambda p, x: loss_fn(p["w"], x), p, x)
    assert not jax.make_jaxpr(find)(params).effects


def test_one_trace_and_none_after_the_first_range():
    traces = []

    def counted(w, x):
        traces.append(1)
        return loss_fn(w, x)

    find = jax.jit(lambda end: octl.lr_find(counted, jnp.zeros(4), data(), end_lr=end))
    find(1.0)
    assert len(traces) == 1
    find(2.0)
    assert len(traces) == 1


def test_nothing_is_computed_after_the_end():
    made = []

    def counted(w, x):
        jax.debug.callback(lambda: made.append(1))
        return loss_fn(w, x)

    found = octl.lr_find(counted, jnp.zeros(4), data(), optimizer=optax.sgd)
    jax.effects_barrier()
    assert len(made) == np.sum(found.valid) < 100


def test_jit_is_eager():
    find = lambda w, x: octl.lr_find(loss_fn, w, x, optimizer=optax.sgd)
    equal(find(jnp.zeros(4), data()), jax.jit(find)(jnp.zeros(4), data()))


def test_vmap_over_seeds_is_each_alone():
    find = lambda w, x: octl.lr_find(loss_fn, w, x, optimizer=optax.sgd)
    params = jax.random.normal(jax.random.key(1), (3, 4))
    batches = jnp.stack([data(seed) for seed in range(3)])
    together = jax.vmap(find)(params, batches)
    for k in range(3):
        alone = find(params[k], batches[k])
        for x, y in zip(together, alone, strict=True):
            np.testing.assert_allclose(x[k], y, rtol=1e-5)


def test_vmap_over_the_range_is_each_alone():
    find = lambda start, end: replayed(course(), start_lr=start, end_lr=end)
    starts, ends = jnp.array([1e-6, 1e-4]), jnp.array([1.0, 100.0])
    together = jax.vmap(find)(starts, ends)
    for k in range(2):
        alone = find(starts[k], ends[k])
        for x, y in zip(together, alone, strict=True):
            np.testing.assert_allclose(x[k], y, rtol=2e-6)


@pytest.mark.parametrize("steps", [20, 100])
def test_rates_rise_evenly_in_log_to_one_step_short_of_the_end(steps):
    found = octl.lr_find(
        lambda w, x: w * x, 0.0, np.ones(steps), start_lr=1e-6, end_lr=1e2
    )
    rates = found.learning_rates
    assert rates.dtype == jnp.float32
    np.testing.assert_allclose(rates, 1e-6 * 1e8 ** (np.arange(steps) / steps), 1e-7)


def test_steps_are_those_of_the_optimizer_at_these_rates():
    x, w = data(), jnp.zeros(4)
    found = octl.lr_find(loss_fn, w, x, diverge=ENDLESS, end_lr=0.5)
    state, losses = optax.adamw(0.0).init(w), []
    for rate, batch in zip(np.asarray(found.learning_rates), x, strict=True):
        loss, grads = jax.value_and_grad(loss_fn)(w, batch)
        updates, state = optax.adamw(rate).update(grads, state, w)
        w = optax.apply_updates(w, updates)
        losses.append(loss)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.9, 0.98])
def test_smoothed_is_the_debiased_mean(smoothing):
    losses = course(noise=0.5)
    mean, expected = 0.0, []
    for n, loss in enumerate(losses.astype(np.float64), 1):
        mean = smoothing * mean + (1 - smoothing) * loss
        expected.append(mean / (1 - smoothing**n))
    found = replayed(losses, smoothing=smoothing, diverge=ENDLESS)
    np.testing.assert_allclose(found.smoothed, expected, rtol=1e-6)
    constant = replayed(np.full(50, 0.3), smoothing=smoothing)
    assert np.all(constant.smoothed == np.float32(0.3))


def ends(smoothed, diverge):
    """The step in which the test ends, by the rule of the docstring."""
    best = np.inf
    for i, s in enumerate(smoothed):
        best = min(best, s)
        if s > best + (diverge - 1) * max(abs(best), (smoothed[0] - best) / 20):
            return i
    return len(smoothed) - 1


@pytest.mark.parametrize("diverge", [1.5, 4.0])
@pytest.mark.parametrize("level", [2.0, 1.02, 0.5, -1.0, -30.0])
def test_test_ends_after_the_step_that_diverges(level, diverge):
    losses = course(level=level, noise=0.2)
    whole = np.asarray(replayed(losses, diverge=ENDLESS).smoothed, np.float64)
    last = ends(whole, diverge)
    found = replayed(losses, diverge=diverge)
    assert np.asarray(found.valid).tolist() == [i <= last for i in range(100)]
    np.testing.assert_array_equal(
        found.smoothed[: last + 1], whole[: last + 1].astype(np.float32)
    )
    np.testing.assert_array_equal(found.losses[: last + 1], losses[: last + 1])
    assert np.isnan(found.smoothed[last + 1 :]).all()
    assert np.isnan(found.losses[last + 1 :]).all()


def test_for_a_positive_loss_it_ends_where_fastai_does():
    for seed in range(10):
        losses = course(noise=0.3, seed=seed)
        smoothed = np.asarray(replayed(losses, diverge=ENDLESS).smoothed)
        last = np.argmax(smoothed > 4 * np.minimum.accumulate(smoothed))
        assert 0 < last == np.sum(replayed(losses).valid) - 1


def test_a_loss_that_all_but_vanishes_may_multiply():
    losses = np.r_[np.linspace(1, 1e-3, 50), np.full(20, 1e-2), 0.15, np.full(29, 0.16)]
    assert np.sum(replayed(losses, smoothing=0.0).valid) == 72


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1, 70])
def test_a_broken_loss_ends_it_and_enters_nothing(bad, where):
    losses = course()
    losses[where] = bad
    found = replayed(losses, diverge=ENDLESS)
    whole = replayed(course(), diverge=ENDLESS)
    np.testing.assert_array_equal(found.losses[: where + 1], losses[: where + 1])
    np.testing.assert_array_equal(found.smoothed[:where], whole.smoothed[:where])
    assert np.isnan(found.smoothed[where:]).all()
    assert np.asarray(found.valid).tolist() == [i < where for i in range(100)]
    assert bool(found.clear) == (where == 70)


@pytest.mark.parametrize(("bad", "last"), [(np.nan, 59), (np.inf, 55)])
def test_fastai_cuts_five_points_off_divergence_and_none_off_nan(bad, last):
    losses = np.linspace(2, 1, 100)
    losses[60] = bad
    found = replayed(losses)
    assert found.minimum == pytest.approx(found.learning_rates[last] / 10)


def test_a_loss_that_goes_through_zero_is_followed_below_it():
    x = 3 + 1e-2 * jax.random.normal(jax.random.key(0), (100, 64))
    nll = lambda p, x: jnp.mean(p["s"] + (x - p["m"]) ** 2 * jnp.exp(-2 * p["s"]) / 2)
    params = {"m": jnp.float32(2.5), "s": jnp.float32(0.0)}
    found = octl.lr_find(nll, params, x, optimizer=optax.adam)
    assert found.losses[0] > 0 > np.nanmin(found.smoothed)
    assert found.clear
    assert 1e-3 < found.suggestion < 1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("optimizer", [optax.adamw, optax.lion, optax.rmsprop])
def test_curve_is_float32_whatever_the_parameters_are(dtype, optimizer):
    x = data().astype(dtype)
    found = octl.lr_find(loss_fn, jnp.zeros(4, dtype), x, optimizer=optimizer)
    assert {a.dtype.name for a in found} == {"float32", "bool"}
    assert not any(a.weak_type for a in found)
    assert np.nanmin(found.losses) < found.losses[0] / 2


def test_optimizer_sees_the_loss():
    guarded = lambda lr: octl.control(optax.sgd(lr), octl.guard())
    found = octl.lr_find(loss_fn, jnp.zeros(4), data(), optimizer=guarded)
    assert found.clear


SHORT = {"x": np.ones((100, 2)), "y": [np.ones(99)]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_lr": 0.0}, r"lr_find\(start_lr=...\)` must be > 0, got 0.0"),
        ({"end_lr": 1e-7}, r"end_lr=...\)` must be > start_lr=1e-07, got 1e-07"),
        ({"end_lr": float("inf")}, "end_lr"),
        ({"smoothing": 1.0}, r"smoothing=...\)` must be < 1, got 1.0"),
        ({"smoothing": -0.1}, r"smoothing=...\)` must be >= 0"),
        ({"diverge": 1.0}, r"diverge=...\)` must be > 1, got 1.0"),
        (
            {"batches": SHORT},
            r"got `batches\['x'\]` \(100,\), `batches\['y'\]\[0\]` \(99",
        ),
        ({"batches": np.ones(19)}, r">= 20 and of one length.*got `batches` \(19,\)"),
        ({"batches": {"n": 1.0}}, r"`batches\['n'\]` \(\)"),
        ({"batches": []}, "got no leaf"),
        (
            {"optimizer": optax.inject_hyperparams(optax.adamw)},
            "keeps the first in its state",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes, message):
    options = {"batches": np.ones(100), **changes}
    with pytest.raises(ValueError, match=message):
        octl.lr_find(lambda w, x: w * jnp.sum(x), 0.0, **options)


@pytest.mark.parametrize(
    ("loss", "optimizer", "message"),
    [
        (lambda w, x: x * w, optax.sgd, r"must return a scalar, got shape \(4,\)"),
        (lambda w, x: (w.sum(), {}), optax.sgd, r"must return a scalar"),
        (loss_fn, optax.adamw(1e-3), "must be a function of the learning rate"),
    ],
)
def test_what_is_no_loss_or_no_factory_is_refused(loss, optimizer, message):
    with pytest.raises(TypeError, match=message):
        octl.lr_find(loss, jnp.ones(4), np.ones((100, 4)), optimizer=optimizer)
