"""Decisions form a commutative monoid; `together` is the merge of its parts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import optaxctl as octl
from optaxctl import Decision
from optaxctl._core.decisions import moved
from tests.core.strategies import tapes

POWERS = st.integers(-20, 20).map(lambda n: 2.0**n)
BITS = st.integers(0, 2**31 - 1)
FIELDS: Any = {
    "lr_scale": POWERS,
    "clip_norm": st.one_of(st.just(float("inf")), st.floats(0, 100, width=32)),
    "skip": st.booleans(),
    "rewind": st.booleans(),
    "stop": BITS,
    "alarm": BITS,
    "knobs": st.dictionaries(st.sampled_from(["dropout", "beta", "batch"]), POWERS),
}
DECISIONS = st.fixed_dictionaries({}, optional=FIELDS).map(
    lambda fields: octl.decide(**fields)
)


def values(decision: Decision) -> Any:
    return jax.tree.map(lambda x: (np.asarray(x).dtype, np.asarray(x).item()), decision)


@given(a=DECISIONS)
def test_the_neutral_decision_is_the_identity(a: Decision) -> None:
    assert values(octl.merge(octl.decide(), a)) == values(a)
    assert values(octl.merge(a, octl.decide())) == values(a)


@given(a=DECISIONS, b=DECISIONS)
def test_merge_commutes(a: Decision, b: Decision) -> None:
    assert values(octl.merge(a, b)) == values(octl.merge(b, a))


@given(a=DECISIONS, b=DECISIONS, c=DECISIONS)
def test_merge_associates(a: Decision, b: Decision, c: Decision) -> None:
    left = octl.merge(octl.merge(a, b), c)
    assert values(left) == values(octl.merge(a, octl.merge(b, c)))


@given(a=DECISIONS, b=DECISIONS)
def test_merge_does_to_each_field_what_it_says(a: Decision, b: Decision) -> None:
    m = octl.merge(a, b)
    assert m.lr_scale == a.lr_scale * b.lr_scale
    assert m.clip_norm == min(a.clip_norm, b.clip_norm)
    assert m.skip == (a.skip or b.skip)
    assert m.rewind == (a.rewind or b.rewind)
    assert m.stop == int(a.stop) | int(b.stop)
    assert m.alarm == int(a.alarm) | int(b.alarm)
    assert m.knobs == {
        n: a.knobs.get(n, 1) * b.knobs.get(n, 1) for n in a.knobs | b.knobs
    }
    assert moved(m) == moved(a) | moved(b)


def test_a_neutral_field_of_an_array_merges_too() -> None:
    """After a scan or a `vmap` no field is the neutral constant any more."""
    plain = jax.tree.map(jnp.asarray, octl.decide())
    assert values(octl.merge(plain, plain)) == values(octl.decide())


def test_nan_is_not_lost_in_a_merge() -> None:
    m = octl.merge(octl.decide(clip_norm=1.0), octl.decide(clip_norm=float("nan")))
    assert np.isnan(m.clip_norm)


@settings(max_examples=10)  # eager: the merge of constants too
@given(losses=tapes(steps=12))
def test_together_is_the_merge_of_its_parts(losses: np.ndarray) -> None:
    parts = {
        "slow": octl.lr.plateau(3, factor=0.5, monitor="loss"),
        "fast": octl.lr.plateau(1, factor=0.25, monitor="loss"),
        "stop": octl.stop.patience(4, monitor="loss"),
        "spike": octl.respond(octl.watch.spike(2.0), skip=True),
    }
    whole = octl.together(**parts)
    state, states = whole.init(), {name: c.init() for name, c in parts.items()}
    for loss in losses:
        decision, state = whole.update({"loss": loss}, state)
        merged = octl.decide()
        for name, c in parts.items():
            part, states[name] = c.update({"loss": loss}, states[name])
            merged = octl.merge(merged, part)
        assert values(decision) == values(merged)
    assert state == states
    gauges = {f"{n}/{g}" for n, c in parts.items() for g in c.gauges(states[n])}
    assert whole.gauges(state).keys() == gauges


def test_an_unknown_field_is_a_type_error() -> None:
    with pytest.raises(
        TypeError, match="has no field 'lr'; it has lr_scale, clip_norm"
    ):
        octl.decide(lr=0.5)


def test_together_refuses_what_is_no_controller() -> None:
    with pytest.raises(ValueError, match="at least one controller"):
        octl.together()
    with pytest.raises(
        TypeError, match=r"`together\(a=...\)` must be a controller. Did"
    ):
        octl.together(a=octl.stop.patience)  # pyright: ignore[reportArgumentType]
