"""The laws bite: each fails for a controller with one bug planted in it."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import optaxctl as octl
from optaxctl import Controller
from optaxctl._core.types import F32, I32
from tests.laws import laws
from tests.laws.registry import EXAMPLES
from tests.laws.resume import resumes_exactly, resumes_exactly_inside_control
from tests.laws.test_laws import ALL_LAWS

Broken = AssertionError
Traced = jax.errors.TracerBoolConversionError
REFUSED = (ValueError, jax.errors.JaxRuntimeError)  # by the runtime, in two worlds
SOUND = EXAMPLES["stop.patience"]


def altered(c: Controller, alter: Callable[..., Any]) -> Controller:
    """Returns `c` with `alter(signals, decision, state)` after every update."""

    def update(signals: Any, state: Any) -> Any:
        return alter(signals, *c.update(signals, state))

    return c._replace(update=update)


def with_state(c: Controller, extra: Any, update_extra: Any) -> Controller:
    """Returns `c` with one more thing in its state."""

    def update(signals: Any, state: Any) -> Any:
        decision, inner = c.update(signals, state[0])
        return decision, (inner, update_extra(state[1]))

    return c._replace(
        init=lambda: (c.init(), extra()),
        update=update,
        gauges=lambda state: c.gauges(state[0]),
    )


def weak_type_at_init(c: Controller) -> Controller:
    return c._replace(init=lambda: c.init()._replace(best=jnp.asarray(0.0)))


def python_float_at_init(c: Controller) -> Controller:
    return c._replace(init=lambda: c.init()._replace(best=0.0))


def dtype_of_the_session(c: Controller) -> Controller:
    return c._replace(init=lambda: c.init()._replace(best=jnp.zeros(())))


class Lying(NamedTuple):
    best: F32
    seen: I32  # a bool in truth
    stale: I32


def false_annotation(c: Controller) -> Controller:
    cast = altered(c, lambda signals, decision, state: (decision, Lying(*state)))
    return cast._replace(init=lambda: Lying(*c.init()))


def integer_drifts_to_float(c: Controller) -> Controller:
    return altered(
        c,
        lambda _, decision, state: (decision, state._replace(stale=state.stale + 0.0)),
    )


def python_if_on_a_value(c: Controller) -> Controller:
    return altered(
        c, lambda signals, d, state: (d, state if signals["loss"] > 0 else c.init())
    )


def state_in_a_closure(c: Controller) -> Controller:
    calls = itertools.count()
    return altered(
        c,
        lambda _, d, state: (d, state._replace(stale=state.stale + next(calls))),
    )


def one_buffer_in_two_fields(c: Controller) -> Controller:
    zero = jnp.zeros((), jnp.int32)
    return with_state(c, lambda: (zero, zero), lambda pair: pair)


def print_in_the_step(c: Controller) -> Controller:
    def show(signals: Any, decision: Any, state: Any) -> Any:
        jax.debug.print("loss {}", signals["loss"])
        return decision, state

    return altered(c, show)


def callback_in_the_step(c: Controller) -> Controller:
    ticks = itertools.count()
    shape = jax.ShapeDtypeStruct((), jnp.int32)

    def tick(signals: Any, decision: Any, state: Any) -> Any:
        now = jax.pure_callback(lambda: jnp.int32(next(ticks)), shape)
        return decision._replace(stop=decision.stop + now), state

    return altered(c, tick)


def growing_history(c: Controller) -> Controller:
    return with_state(
        c, lambda: jnp.zeros((1,), jnp.float32), lambda x: jnp.append(x, x[-1])
    )


def two_thousand_losses(c: Controller) -> Controller:
    return with_state(c, lambda: jnp.zeros((2000,), jnp.float32), lambda x: x)


def nan_enters_best(c: Controller) -> Controller:
    def poison(signals: Any, decision: Any, state: Any) -> Any:
        x = signals["loss"]
        # The classic: every comparison with NaN is false.
        return decision, state._replace(
            best=jnp.where(~(x >= state.best), x, state.best)
        )

    return altered(c, poison)


def infinity_enters_best(c: Controller) -> Controller:
    def poison(signals: Any, decision: Any, state: Any) -> Any:
        x = signals["loss"]
        return decision, state._replace(best=jnp.where(x > 1e9, x, state.best))

    return altered(c, poison)


def second_field_moves(c: Controller) -> Controller:
    return altered(c, lambda _, d, state: (d._replace(skip=d.stop > 0), state))


def gauge_is_nan_at_first(c: Controller) -> Controller:
    def gauges(state: Any) -> Any:
        return {"ratio": state.best / state.best, **c.gauges(state)}

    return c._replace(gauges=gauges)


def gauge_comes_late(c: Controller) -> Controller:
    def gauges(state: Any) -> Any:
        late = {} if state.stale is initial.stale else {"late": state.best}
        return {**c.gauges(state), **late}

    initial = c.init()
    return c._replace(init=lambda: initial, gauges=gauges)


def missing_signal_is_zero(c: Controller) -> Controller:
    def update(signals: Any, state: Any) -> Any:
        return c.update({"loss": signals.get("loss", 0.0)}, state)

    return c._replace(update=update)


@functools.wraps(octl.stop.patience)
def dead_argument(*args: Any, **kwargs: Any) -> Controller:
    return octl.stop.patience(*args, **{**kwargs, "rtol": 0.0})


@functools.wraps(octl.stop.patience)
def check_that_traces(updates: int, **kwargs: Any) -> Controller:
    if updates < 1:
        raise ValueError
    return octl.stop.patience(updates, **kwargs)


def unpackable_dtype(c: Controller) -> Controller:
    return with_state(c, lambda: jnp.zeros((), jnp.uint8), lambda x: x)


BUGS = [
    (laws.state_is_a_fixed_point, weak_type_at_init, Broken),
    (laws.state_is_a_fixed_point, integer_drifts_to_float, Broken),
    (laws.it_is_the_same_with_64_bits, dtype_of_the_session, Broken),
    (laws.annotations_are_true, python_float_at_init, Broken),
    (laws.annotations_are_true, false_annotation, Broken),
    (laws.n_updates_are_one_trace, integer_drifts_to_float, Broken),
    (laws.n_updates_are_one_trace, growing_history, Broken),
    (laws.jit_is_scan_is_vmap, python_if_on_a_value, Traced),
    (laws.eager_is_near_jit, state_in_a_closure, Broken),
    (laws.buffers_can_be_donated, one_buffer_in_two_fields, REFUSED),
    (laws.has_no_effects, print_in_the_step, Broken),
    (laws.has_no_effects, callback_in_the_step, Broken),
    (laws.state_is_bounded, growing_history, Broken),
    (laws.state_is_bounded, two_thousand_losses, Broken),
    (laws.is_never_poisoned, nan_enters_best, Broken),
    (laws.a_nonfinite_step_leaves_statistics, nan_enters_best, Broken),
    (laws.a_nonfinite_step_leaves_statistics, infinity_enters_best, Broken),
    (laws.moves_only_its_fields, second_field_moves, Broken),
    (laws.gauges_are_sound, gauge_is_nan_at_first, Broken),
    (laws.gauges_are_sound, gauge_comes_late, Broken),
    (laws.a_missing_signal_is_named, missing_signal_is_zero, Broken),
    (resumes_exactly, callback_in_the_step, Broken),
    (resumes_exactly_inside_control, callback_in_the_step, Broken),
    (resumes_exactly_inside_control, unpackable_dtype, TypeError),
]


FACTORIES = [
    (laws.hyperparameters_can_be_swept, check_that_traces, Traced),
    (laws.every_argument_matters, dead_argument, Broken),
]


def name(x: Any) -> str | None:
    return getattr(x, "__name__", None)


@pytest.mark.parametrize(("law", "bug", "error"), BUGS, ids=name)
def test_the_law_fails_for_the_controller(law: Any, bug: Any, error: Any) -> None:
    @functools.wraps(SOUND.factory)
    def factory(*args: Any, **kwargs: Any) -> Controller:
        return bug(SOUND.factory(*args, **kwargs))

    with pytest.raises(error):
        law(dataclasses.replace(SOUND, factory=factory))


@pytest.mark.parametrize(("law", "bug", "error"), FACTORIES)
def test_the_law_fails_for_the_factory(law: Any, bug: Any, error: Any) -> None:
    with pytest.raises(error):
        law(dataclasses.replace(SOUND, factory=bug))


def test_every_law_has_a_bug_that_it_catches() -> None:
    assert {law for law, _, _ in BUGS + FACTORIES} == set(ALL_LAWS)
