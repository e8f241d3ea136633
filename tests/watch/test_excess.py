from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optaxctl as octl
from optaxctl import Alarm
from tests.core.strategies import tapes


@partial(jax.jit, static_argnames="window")
def replayed(losses: Any, factor: Any, window: int | None) -> Any:
    return octl.replay(octl.watch.excess(factor, window=window), {"loss": losses})


@pytest.mark.parametrize("window", [None, 1, 8])
@given(losses=tapes(), factor=st.sampled_from([1.5, 4.0]))
def test_matches_the_reference(losses: Any, factor: float, window: int | None) -> None:
    result = replayed(losses, factor, window)
    kept: list[float] = []
    scale = np.abs(losses[np.isfinite(losses)]).max(initial=0)
    for x, alarm, limit in zip(
        losses.astype(np.float64),
        result.decisions.alarm,
        result.gauges["limit"],
        strict=True,
    ):
        judged = np.isfinite(x) and bool(kept)
        usual = np.mean(kept[-window:] if window else kept[:1]) if judged else 1.0
        kept += [x] if np.isfinite(x) else []
        if abs(usual) < 1e-6 * scale:
            continue  # The sign of a sum of rounded values that cancel is anyone's.
        bound = factor * usual if judged and usual > 0 else np.inf
        np.testing.assert_allclose(limit, bound, rtol=1e-5, atol=1e-6 * factor * scale)
        if not np.isfinite(x) or abs(x - bound) > 1e-5 * scale * factor:
            spiked = Alarm.LOSS_SPIKE if x > bound and judged else 0
            assert alarm == (spiked if usual > 0 else Alarm.OUT_OF_DOMAIN)


def test_story() -> None:
    """The rise from 1 to 5 alarms for ever against the first value, and not the mean.

    A tie is none, and a NaN is not remembered.
    """
    losses = np.array([1, np.nan, 4, 5, 5, 5, 5, np.inf, 5], np.float32)
    alarms = [
        np.flatnonzero(replayed(losses, 4.0, w).decisions.alarm) for w in (None, 2)
    ]
    np.testing.assert_array_equal(alarms[0], [3, 4, 5, 6, 8])
    np.testing.assert_array_equal(alarms[1], [])


@pytest.mark.parametrize("wrong", [{"factor": 1.0}, {"window": 0}])
def test_arguments_are_checked(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"`watch.excess\({name}=...\)` must be "):
        octl.watch.excess(**wrong)
