from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import given

import optaxctl as octl
from optaxctl import Alarm
from tests.core.strategies import tapes
from tests.jitted import jitted

SIGNALS = {
    "loss": (Alarm.NONFINITE_LOSS, Alarm.NONFINITE_LOSS),
    "grad_norm": (Alarm.NONFINITE_GRADIENT, Alarm.GRADIENT_EXPLODED),
    "entropy": (Alarm.NONFINITE_SIGNAL, Alarm.NONFINITE_SIGNAL),
}


@jitted
def replayed(values: Any) -> Any:
    return octl.replay(octl.watch.nonfinite(*SIGNALS), values)


@given(xs=tapes(), ys=tapes(), zs=tapes())
def test_matches_the_reference(xs: Any, ys: Any, zs: Any) -> None:
    values = dict(zip(SIGNALS, (xs, ys, zs), strict=True))
    result = replayed(values)
    consecutive = total = 0
    for i in range(xs.size):
        bits = 0
        for name, (nan, infinite) in SIGNALS.items():
            x = values[name][i]
            bits |= nan if np.isnan(x) else infinite if np.isinf(x) else 0
        consecutive, total = (consecutive + 1, total + 1) if bits else (0, total)
        assert result.decisions.alarm[i] == bits
        assert result.gauges["consecutive"][i] == consecutive
        assert result.gauges["total"][i] == total


def test_a_gradient_too_large_to_square_is_exploded_and_not_nan() -> None:
    tx = octl.control(optax.sgd(0.1), octl.guard("grad_norm"))
    params = jnp.ones(2)
    update = jax.jit(tx.update)
    for size, name in ((1e20, "gradient_exploded"), (np.nan, "nonfinite_gradient")):
        _, state = update(jnp.full(2, size), tx.init(params), params)
        reading = octl.read(state)
        assert reading.alarms == (name,)
        assert reading.refused == 1


def test_reads_loss_and_gradient_norm_by_default() -> None:
    assert octl.watch.nonfinite().signals == {"loss", "grad_norm"}
