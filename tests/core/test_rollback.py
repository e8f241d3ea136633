"""`rollback` against its rule in plain Python, and what it is for."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.views._steps import scripted

WATCH = scripted(alarm="bad")
LIMITS = {"recover": 7, "refractory": 4, "probation": 6, "margin": 0.5, "tries": 3}


def reference(losses: Any, bads: Any, how: Any) -> list[tuple[Any, ...]]:
    """What is decided in every update: skip, rewind, stop, probation, the cut."""
    rows = []
    answered, anew, since, tries, debt, before = False, False, math.inf, 0, 0, math.inf
    good = first = False
    calm = math.inf
    level = weight = 0.0
    for loss, bad in zip(losses, bads, strict=True):
        since += 1
        up = bool(bad)
        calm = 0 if up else calm + 1
        over = high = fine = False
        if not up and 0 < loss < math.inf:
            y = math.log(loss)
            if anew:
                if first:
                    before = level / weight if weight else math.inf
                level, weight, anew, first = 0.0, 0.0, False, False
            usual = level / weight if weight else before
            if usual < math.inf:
                y = min(max(y, usual - 4 * how["margin"]), usual + how["margin"])
            level, weight = 0.9 * level + 0.1 * y, 0.9 * weight + 0.1
            fine = math.log(loss) <= before + how["margin"]
            good = good or fine
            high = tries > 0 and level / weight > before + how["margin"]
        worse = high and not fine and calm >= how["probation"]
        if math.isfinite(loss) and calm >= how["probation"]:
            over = not high
        tries = 0 if over else tries
        fresh = not answered and (good or tries == 0)
        asks = worse or (up and (fresh or since > how["refractory"]))
        back = asks and tries < how["tries"]
        debt = max(debt - 1, 0) if over else debt
        if back:
            debt += how["recover"] if tries else 0
            first = first or not tries
            tries, since, calm, good, anew = tries + 1, 0, 0, False, True
        answered = up and (back or (answered and not asks))
        skip = up or back
        rows.append(
            (skip, back, asks and not back, tries > 0, 0.5 ** (debt / how["recover"]))
        )
    return rows


def replayed(losses: Any, bads: Any) -> Any:
    controller = octl.rollback(WATCH, lr_scale=0.5, **LIMITS)
    decided = octl.replay(controller, {"loss": losses, "bad": bads}).decisions
    waits = (decided.alarm & int(octl.Alarm.ON_PROBATION)) != 0
    stops = decided.stop == int(octl.StopReason.GAVE_UP)
    return decided.skip, decided.rewind, stops, waits, decided.lr_scale


def test_it_follows_its_rule_on_random_runs() -> None:
    rng = np.random.default_rng(0)
    shape = (64, 80)
    losses = np.exp(rng.normal(size=shape) + rng.normal(size=(64, 1))).astype(
        np.float32
    )
    losses[rng.random(shape) < 0.1] = np.nan
    losses[rng.random(shape) < 0.05] = -1
    # Alarms in bursts, from rare to nearly always.
    rare = rng.random((64, 1)) ** 2
    bads = np.repeat(rng.random((64, 40)) < rare, 2, axis=1).astype(np.int32)
    ours = jax.jit(jax.vmap(replayed))(losses, bads)
    seen = np.zeros(4, bool)
    for i in range(64):
        theirs = list(zip(*reference(losses[i].tolist(), bads[i], LIMITS), strict=True))
        for mine, rule in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(mine[i], rule)
        np.testing.assert_allclose(ours[4][i], theirs[4], rtol=1e-6)
        seen |= [np.any(flags) for flags in theirs[:4]]
    assert seen.all()


def descend(rate: float, fault: Any) -> tuple[float, octl.Reading]:
    """Descends w^2 / 2 from w = 8, with a fault added to loss and gradient."""
    tx = octl.control(
        octl.inject(optax.sgd, learning_rate=rate),
        octl.rollback(
            octl.lasting(2, octl.watch.excess(3.0)), refractory=10, probation=10
        ),
        snapshots=octl.Snapshots(every=3),
    )
    w = jnp.float32(8)

    def step(carry: Any, fault: Any) -> Any:
        w, state = carry
        loss = w**2 / 2 + fault
        return octl.apply_gradients(tx, w + fault, state, w, value=loss), None

    (w, state), _ = jax.lax.scan(step, (w, tx.init(w)), jnp.asarray(fault))
    return float(w), octl.read(state)


def test_a_rate_far_too_high_is_found_and_cut() -> None:
    w, seen = descend(60.0, np.zeros(120, np.float32))
    assert abs(w) < 0.1
    assert seen.stop == ()
    # 60 and 6 make it diverge; 0.6 does not.
    assert seen.rewinds == 3
    assert seen.learning_rate == pytest.approx(0.6, rel=0.5)


def test_bad_data_are_refused_and_cost_no_rate() -> None:
    fault = np.zeros(60, np.float32)
    fault[20:28] = 1e3
    w, seen = descend(0.1, fault)
    assert abs(w) < 1
    assert (seen.rewinds, seen.learning_rate, seen.stop) == (1, pytest.approx(0.1), ())


def test_what_no_rate_can_cure_asks_to_stop() -> None:
    fault = np.zeros(120, np.float32)
    fault[20:] = 1e3
    _, seen = descend(0.1, fault)
    assert seen.stop == ("gave_up",)
    assert seen.rewinds == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr_scale": 0.0}, r"rollback\(lr_scale=...\)` must be > 0"),
        ({"lr_scale": 2.0}, r"rollback\(lr_scale=...\)` must be >= 0 and <= 1"),
        ({"margin": 0.0}, r"rollback\(margin=...\)` must be > 0"),
        ({"recover": -1}, r"rollback\(recover=...\)` must be >= 0"),
        ({"refractory": 0}, r"rollback\(refractory=...\)` must be >= 1"),
        ({"probation": 0}, r"rollback\(probation=...\)` must be >= 1"),
        ({"tries": 1.5}, r"rollback\(tries=...\)` must be a whole number"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        octl.rollback(WATCH, **arguments)


def test_what_is_no_controller_is_named() -> None:
    factory: Any = octl.watch.excess
    for combine in (octl.rollback, lambda c: octl.lasting(2, c)):
        with pytest.raises(TypeError, match=r"must be a controller\. Did you forget"):
            combine(factory)


def test_one_low_value_is_no_yardstick() -> None:
    losses = np.ones(400, np.float32)
    losses[92] = 1e-6
    bads = np.zeros(400, np.int32)
    bads[100] = 1
    _, back, stops, waits, scale = jax.jit(replayed)(losses, bads)
    assert (back.sum(), stops.any(), waits[-1], scale[-1]) == (1, False, False, 1)


def test_a_signal_without_logarithms_ends_probation() -> None:
    bads = np.zeros(50, np.int32)
    bads[10] = 1
    _, back, _, waits, _ = jax.jit(replayed)(np.full(50, -1, np.float32), bads)
    assert (back.sum(), waits[-1]) == (1, False)


def test_a_bad_value_between_alarms_is_no_level() -> None:
    """Zeros among the bad batches end the alarm, and a bad value comes after them."""
    losses, bads = np.ones(80, np.float32), np.zeros(80, np.int32)
    losses[20:31], bads[20:28] = 1e4, 1
    losses[28:30] = 0.0
    c = octl.rollback(WATCH)
    decided = octl.replay(c, {"loss": losses, "bad": bads}).decisions
    assert (decided.rewind.sum(), decided.lr_scale[-1]) == (1, 1)


def test_bad_values_without_an_alarm_are_no_lasting_level() -> None:
    """The mean still holds them when the try is judged, on a value that is good."""
    losses, bads = np.ones(80, np.float32), np.zeros(80, np.int32)
    losses[20:40], bads[20] = 1e4, 1
    losses[24:38:2] = 0.0
    c = octl.rollback(WATCH)
    decided = octl.replay(c, {"loss": losses, "bad": bads}).decisions
    waits = (decided.alarm & int(octl.Alarm.ON_PROBATION)) != 0
    assert (decided.rewind.sum(), decided.lr_scale[-1]) == (1, 1)
    assert (waits[45], waits[-1]) == (True, False)


def test_cuts_add_up_to_no_more_than_a_counter_holds() -> None:
    c = octl.rollback(WATCH, lr_scale=0.5, recover=2**30, refractory=1)
    bads = np.ones(9, np.int32)
    scale = octl.replay(c, {"loss": np.ones(9), "bad": bads}).decisions.lr_scale
    assert np.all(np.diff(scale) <= 0)
    assert scale[-1] == pytest.approx(0.25)
