from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from optaxctl import StopReason

LOSSES = np.array([4, np.nan, 3, 2, np.inf, 2.5, 2.5, 2.5, 1], np.float32)


def stops(function: Any, series: Any, **more: Any) -> list[int]:
    c = octl.stop.custom(function, **more)
    return octl.replay(c, series).decisions.stop.tolist()


def test_it_sees_the_epoch_the_metric_and_the_past() -> None:
    seen: list[Any] = []

    def record(epoch: Any, metric: Any, past: Any) -> Any:
        seen.append((int(epoch), float(metric), past.history.tolist()))
        return metric < 2

    c = octl.stop.custom(record, window=3)
    state, stops = c.init(), []
    for x in LOSSES:
        decision, state = c.update({"val_loss": x}, state)
        stops.append(int(decision.stop))
    assert stops == [0] * 8 + [StopReason.CUSTOM]
    finite = LOSSES[np.isfinite(LOSSES)]
    for n, (epoch, metric, history) in enumerate(seen):
        before = finite[: np.isfinite(LOSSES[:n]).sum()][-3:]
        expected = np.concatenate([np.full(3 - len(before), np.nan), before])
        assert epoch == n
        np.testing.assert_array_equal(metric, LOSSES[n])
        np.testing.assert_array_equal(history, expected)


def test_a_verdict_alone_counts_itself() -> None:
    rows: list[int] = []

    def high(epoch: Any, metric: Any, past: Any) -> Any:
        rows.append(int(past.counter))
        return metric > 2.2

    c = octl.stop.custom(high)
    state = c.init()
    for x in LOSSES:
        _, state = c.update({"val_loss": x}, state)
    assert rows == [0, 1, 0, 1, 0, 1, 2, 3, 4]


def test_several_metrics_come_by_name_and_a_bit_can_be_the_users() -> None:
    def both_stale(epoch: Any, metric: Any, past: Any) -> Any:
        best = {n: jnp.nanmin(h) for n, h in past.history.items()}
        return (metric["a"] >= best["a"]) & (metric["b"] >= best["b"])

    series = {"a": np.array([3.0, 2, 2, 1, 1]), "b": np.array([3.0, 3, 2, 2, 2])}
    found = stops(both_stale, series, monitor=("a", "b"), reason=1 << 24)
    assert found == [0, 0, 0, 0, 1 << 24]


def test_convergence_of_ones_own() -> None:
    def flat(epoch: Any, metric: Any, past: Any) -> Any:
        return jnp.max(jnp.abs(past.history - metric)) < 0.1  # false while any is NaN

    losses = np.array([3, 2, 1.02, 1.01, 1.0, 1.0, 0.5], np.float32)
    found = stops(flat, {"val_loss": losses}, window=3)
    assert np.flatnonzero(found).tolist() == [5]


def test_what_it_needs_is_checked() -> None:
    always = lambda epoch, metric, past: metric > 0
    with pytest.raises(ValueError, match=r"stop.custom\(window=...\)` must be >= 1"):
        octl.stop.custom(always, window=0)
    with pytest.raises(ValueError, match=r"stop.custom\(reason=...\)` must be 16384"):
        octl.stop.custom(always, reason=1)
    with pytest.raises(ValueError, match=r"stop.custom\(monitor=...\)` must be the "):
        octl.stop.custom(always, monitor=())
    with pytest.raises(TypeError, match="must return a scalar bool"):
        stops(lambda epoch, metric, past: metric, {"val_loss": LOSSES})
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"`stop.custom` needs a function, got 3"):
        octl.stop.custom(wrong)
