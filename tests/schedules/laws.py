"""What every schedule must keep, as functions of its name and its entry."""

import inspect
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.schedules._entry import LAST, Entry, make, reference
from tests.schedules.registry import REGISTRY

STEPS = (*range(110), 1000, 2**24 - 1, 2**24, 2**24 + 1, LAST - 1, LAST)
FIRST = jnp.arange(110)


def is_the_closed_form(name: str, entry: Entry) -> None:
    """Every kind of it is its equation, at 2^24 + 1 and at 2^31 - 1 too."""
    agree(name, variants(entry), STEPS, varied(name, factory(name)))


def is_exact_over_the_longest_run(name: str, entry: Entry) -> None:
    """A horizon that float32 cannot count is no different from a short one."""
    if not entry.horizon:
        return
    arguments = {**entry.arguments, **entry.horizon}
    some = np.random.default_rng(0).integers(0, LAST, 50).tolist()
    around_powers = (*around(2**24), *around(2**30))
    steps = (*some, *range(3), *around_powers, *ends(LAST))
    actual = courses(name, [arguments], jnp.asarray(steps, jnp.int32))
    agree(name, [arguments], steps, actual)


def agree(
    name: str, kinds: list[dict[str, Any]], steps: Any, actual: list[Any]
) -> None:
    for values, arguments in zip(actual, kinds, strict=True):
        expected = np.asarray([reference(name, step, arguments) for step in steps])
        peak = np.abs(expected).max()
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6 * peak)


def courses(name: str, kinds: list[dict[str, Any]], steps: Any = FIRST) -> list[Any]:
    """The values of each kind; one program for all, as compiling takes the time."""
    return jax.jit(lambda steps: [make(name, kind)(steps) for kind in kinds])(steps)


def factory(name: str) -> Any:
    return getattr(octl.schedules, name)


@lru_cache(maxsize=1)
def varied(name: str, factory: Any) -> list[Any]:
    """The values of every variant at STEPS; for two laws, and one factory."""
    assert factory is getattr(octl.schedules, name)
    kinds = variants(REGISTRY[name])
    return jax.device_get(courses(name, kinds, jnp.asarray(STEPS, jnp.int32)))


def values_are_float32_and_strong(name: str, entry: Entry) -> None:
    schedule = make(name, entry.arguments)

    def value(step: Any) -> Any:
        found = schedule(step)
        assert isinstance(found, jax.Array), step
        return found

    kinds = (3, True, np.int32(3), np.uint8(3), jnp.int32(3), jnp.arange(4), 3.0)
    for step in kinds:
        # Every dtype is one more program, and types need none.
        kind = jax.eval_shape(partial(value, step))
        assert (kind.dtype, kind.weak_type) == (jnp.float32, False), step
        assert kind.shape == np.shape(step), step


def is_clamped_at_both_ends(name: str, entry: Entry) -> None:
    """Before its begin it is at its begin, and nowhere beyond its span."""
    schedule = make(name, entry.arguments)
    for step in (-1, -LAST - 1, -0.5):
        assert schedule(step) == schedule(0), step
    for arguments in (entry.arguments, {**entry.arguments, **entry.horizon}):
        random = np.random.default_rng(0).integers(0, LAST, 1000)
        steps = jnp.asarray([*STEPS, *random.tolist()], jnp.int32)
        values = np.asarray(make(name, arguments)(steps))
        assert values.min() >= np.float32(entry.span[0])
        assert values.max() <= np.float32(entry.span[1])


def is_the_same_compiled(name: str, entry: Entry) -> None:
    """Bit for bit, alone and in a row, in a scan and in one more jit."""
    schedule = make(name, entry.arguments)
    alone = np.asarray([schedule(jnp.int32(step)) for step in FIRST[:40]])
    compiled = jax.jit(schedule)
    again = np.asarray([compiled(jnp.int32(step)) for step in FIRST[:40]])
    np.testing.assert_array_equal(again, alone)
    rows = schedule(FIRST[:40]), compiled(FIRST[:40]), jax.vmap(schedule)(FIRST[:40])
    scanned = jax.lax.scan(lambda _, step: (None, schedule(step)), None, FIRST[:40])[1]
    # XLA computes sines, powers and the like of several numbers by other code.
    ulps = 0 if entry.exact else 8 * 2**-24 * np.abs(alone).max()
    for row in (*rows, scanned):
        np.testing.assert_allclose(row, alone, rtol=0, atol=ulps)


def is_traced_once(name: str, entry: Entry) -> None:
    """No Python branch on a traced step, no second trace for another one."""
    schedule, traces = make(name, entry.arguments), []

    @jax.jit
    def value(step: Any) -> Any:
        traces.append(step)
        return schedule(step)

    for step in (0, 7, 2**24 + 1, LAST):
        value(jnp.int32(step))
    assert len(traces) == 1
    assert not jax.make_jaxpr(schedule)(jnp.int32(0)).effects


def every_number_can_be_swept(name: str, entry: Entry) -> None:
    """`vmap` over a factory gives what the equation gives each, and each matters."""

    def course(argument: str, value: Any) -> Any:
        return make(name, {**entry.arguments, argument: value})(FIRST)

    @jax.jit
    def sweep(values: Any) -> Any:
        return {n: jax.vmap(partial(course, n))(values[n]) for n in values}

    swept = sweep({n: jnp.asarray(values) for n, values in entry.sweeps.items()})
    # As a data file gives it.
    narrowed = {n: narrow(values[1]) for n, values in entry.sweeps.items()}
    kinds = [{**entry.arguments, n: value} for n, value in narrowed.items()]
    for (argument, values), other in zip(
        entry.sweeps.items(), courses(name, kinds), strict=True
    ):
        given = [{**entry.arguments, argument: value} for value in values]
        alone = [[reference(name, step, one) for step in range(110)] for one in given]
        peak = np.abs(alone).max()
        np.testing.assert_allclose(swept[argument], alone, rtol=0, atol=1e-6 * peak)
        assert np.ptp(swept[argument], axis=0).max() > 0, f"`{argument}` does nothing"
        np.testing.assert_allclose(other, alone[1], rtol=0, atol=1e-6 * peak)


def every_argument_matters(name: str, entry: Entry) -> None:
    """Each is swept, or another value of it changes the course; none is left out."""
    mattering = {*entry.sweeps, *entry.options}
    others = [(n, value) for n, values in entry.options.items() for value in values]
    plain, *changed = [values[: FIRST.size] for values in varied(name, factory(name))]
    # The options come last, after the sweeps.
    for other, course in zip(reversed(others), reversed(changed), strict=False):
        assert not np.array_equal(course, plain), other
    known = inspect.signature(getattr(octl.schedules, name)).parameters
    missing = known.keys() - mattering - set(DEPENDENT.get(name, ()))
    assert not missing, f"no other value of {sorted(missing)} in the registry"


# Arguments that matter together with others only; tests/schedules/test_cyclic.py.
DEPENDENT = {"cyclic": ("gamma", "scale_mode")}


def wrong_arguments_are_named(name: str, entry: Entry) -> None:
    """Each is a `ValueError` that names the schedule and the argument."""
    for argument, values in entry.wrong.items():
        for value in values:
            named = rf"^`schedules\.{name}\({argument}(\[\d+\])?=...\)` must be .*got "
            with pytest.raises(ValueError, match=named):
                make(name, {**entry.arguments, argument: value})
    known = inspect.signature(getattr(octl.schedules, name)).parameters
    flags = {n for n, p in known.items() if isinstance(p.default, bool)}
    for argument in flags:
        with pytest.raises(
            ValueError, match=f"{argument}=...\\)` must be True or False"
        ):
            make(name, {**entry.arguments, argument: "no"})
    assert entry.wrong.keys() >= known.keys() - flags - {"scale_fn"}


def is_a_schedule_of_optax(name: str, entry: Entry) -> None:
    """It goes into the hyper-parameters of an optimizer, Optax's way and ours."""
    schedule = make(name, entry.arguments)
    params = {"w": jnp.ones(3)}
    plain: Any = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)
    ours = octl.control(octl.inject(optax.sgd, learning_rate=schedule), octl.guard())
    for tx, extra in ((plain, {}), (ours, {"value": 1.0})):
        step = jax.jit(lambda s, tx=tx, e=extra: tx.update(params, s, params, **e))
        state = tx.init(params)
        for i in range(3):
            updates, state = step(state)
            np.testing.assert_allclose(updates["w"], -schedule(i), rtol=1e-6)


def narrow(value: Any) -> Any:
    """The value as NumPy's smallest type that holds it, as data files give it."""
    if isinstance(value, list):
        return [narrow(one) for one in value]
    kind = np.min_scalar_type(value) if isinstance(value, int) else np.float32
    return np.asarray(value, kind)[()]


def variants(entry: Entry) -> list[dict[str, Any]]:
    """The example, and the example with one argument changed, in turn."""
    given = dict(entry.arguments)
    others = [
        {**given, argument: value}
        for argument, values in [*entry.sweeps.items(), *entry.options.items()]
        for value in values
    ]
    return [given, *others]


def around(step: int) -> tuple[int, ...]:
    return tuple(range(step - 2, step + 4))


def ends(last: int) -> tuple[int, ...]:
    return tuple(range(last - 3, last + 1))
