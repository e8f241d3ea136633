from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl

LOSSES = np.array([4, 3, 2.9, np.nan, 2.88, 2.9, 2.5, 2.6, 2.7, 2.8], np.float32)
STALE = octl.StopReason.PATIENCE


def stops(controller: octl.Controller) -> list[int]:
    return octl.replay(controller, {"val_loss": LOSSES}).decisions.stop.tolist()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("patience", {}), octl.stop.patience(2)),
        (
            ("patience", {"min_delta": 0.05, "min_percentage": 1, "baseline": 3.5}),
            octl.stop.patience(2, atol=0.05, rtol=0.01, baseline=3.5),
        ),
        (("delta", {"min_delta": 0.2}), octl.stop.small_gain(2, atol=0.2)),
        (("percentage", {"min_percentage": 5}), octl.stop.small_gain(2, rtol=0.05)),
        (
            ("moving_average", {"moving_average_window": 3}),
            octl.smooth(octl.stop.patience(2), monitor="val_loss", decay=0.5),
        ),
        (("moving_average", {"moving_average_window": 1}), octl.stop.patience(2)),
        (("patience", {"min_epochs": 6}), octl.after(5, octl.stop.patience(2))),
    ],
)
def test_a_strategy_is_a_rule(arguments: Any, rule: octl.Controller) -> None:
    strategy, more = arguments
    stopper = octl.stop.early_stopping(strategy, patience=2, **more)
    expected = stops(rule)
    assert stops(stopper.controller) == expected
    assert any(expected)


def test_a_function_of_ones_own() -> None:
    high = lambda epoch, metric, past: (metric > 2.75) & (epoch > 6)
    stopper = octl.stop.early_stopping("custom", function=high)
    assert np.flatnonzero(stops(stopper.controller)).tolist() == [9]


def test_at_least_so_many_epochs() -> None:
    for epochs in range(4):
        c = octl.stop.early_stopping(patience=1, min_epochs=epochs).controller
        found = octl.replay(c, {"val_loss": np.ones(4)}).decisions.stop
        assert int(np.argmax(found)) + 1 == max(epochs, 2)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_parameters_come_back_whether_or_not_it_stopped(mode: Any) -> None:
    """Compiled, in a scan over epochs whose parameters are their own number."""
    stopper = octl.stop.early_stopping(patience=9, mode=mode, restore_best=True)

    @jax.jit
    def train(losses: Any) -> Any:
        def epoch(carry: Any, loss: Any) -> Any:
            params, state = carry
            params = jax.tree.map(lambda p: p + 1, params)
            decision, state = stopper.update({"val_loss": loss}, params, state)
            return (params, state), decision.stop

        params = {"w": jnp.zeros(3, jnp.bfloat16), "n": jnp.int32(0)}
        (params, state), stop = jax.lax.scan(
            epoch, (params, stopper.init(params)), losses
        )
        return stopper.restore(params, state), stop

    for losses in (LOSSES, LOSSES[:5], np.full(4, np.nan, np.float32)):
        params, stop = train(losses)
        finite = np.isfinite(losses)
        worst = np.inf if mode == "min" else -np.inf
        filled = np.where(finite, losses, worst)
        best = (np.argmin if mode == "min" else np.argmax)(filled) + 1
        assert int(params["n"]) == (best if finite.any() else 0)
        assert params["w"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(params["w"], int(params["n"]))
    assert not stop.any()


def test_without_keeping_the_parameters_are_those_given() -> None:
    stopper = octl.stop.early_stopping()
    state = stopper.init(jnp.zeros(2))
    assert jax.tree.leaves(state.kept) == []
    given = jnp.ones(2)
    assert stopper.restore(given, state) is given


def test_numbers_may_be_traced() -> None:
    def count(patience: Any, delta: Any) -> Any:
        c = octl.stop.early_stopping(patience=patience, min_delta=delta).controller
        return octl.replay(c, {"val_loss": LOSSES}).decisions.stop

    found = jax.jit(jax.vmap(count))(jnp.array([1, 3]), jnp.array([0.0, 0.5]))
    assert found[0].tolist() == stops(octl.stop.patience(1))
    assert found[1].tolist() == stops(octl.stop.patience(3, atol=0.5))


@pytest.mark.parametrize(
    ("strategy", "wrong", "message"),
    [
        ("patience", {"patience": 0}, r"\(patience=...\)` must be >= 1"),
        ("patience", {"min_delta": -1.0}, r"\(min_delta=...\)` must be >= 0"),
        ("patience", {"min_epochs": -1}, r"\(min_epochs=...\)` must be >= 0"),
        ("patience", {"restore_best": 1}, r"\(restore_best=...\)` must be True or"),
        ("delta", {"min_percentage": 1.0}, "is read by strategy 'patience' or 'perc"),
        ("percentage", {"min_delta": 1.0}, "is read by strategy 'patience' or 'delta'"),
        ("delta", {"baseline": 1.0}, "and this is 'delta'"),
        ("custom", {"patience": 3}, "and this is 'custom'"),
        ("patience", {"moving_average_window": 3}, "by strategy 'moving_average' only"),
        ("custom", {}, "needs `function=`"),
        ("patient", {}, r"Did you mean `patience`\?"),
    ],
)
def test_what_is_wrong_or_not_read_is_refused(
    strategy: Any, wrong: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        octl.stop.early_stopping(strategy, **wrong)
