"""The laws of every controller, as functions of an `Example` that raise if it fails.

A law asserts; what JAX itself refuses, such as a Python `if` on a traced value, is
raised as it is.
"""

import enum
import inspect
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl._core.decisions import decide, moved
from tests.laws.compare import assert_near, assert_same, floats
from tests.laws.registry import Example
from tests.laws.runs import recorded, stepped, varied
from tests.laws.tape import (
    BROKEN_FROM_THE_START,
    COUNTS,
    POISON,
    STEPS,
    TAPE,
    rows,
    scan,
    scan_moves,
    stack,
    whole,
)

DTYPES = ("float32", "int32", "bool")
MAX_STATE_BYTES = 4096


def state_is_a_fixed_point(example: Example) -> None:
    """Shape, dtype and weak type never change, eager or compiled."""
    c, row = example.build(), rows()[0]
    start, compiled = c.init(), jax.jit(c.init)()
    kind = _avals(start)
    assert all(dtype in DTYPES and not weak for _, dtype, weak in kind), kind
    for state in (compiled, c.update(row, start)[1], *stepped(example).states):
        assert jax.tree.structure(state) == jax.tree.structure(start)
        assert _avals(state) == kind
    assert_same(compiled, start)


def it_is_the_same_with_64_bits(example: Example) -> None:
    """State does not take on the precision that a session happens to have."""
    usual = _kinds(example.build().init)
    with jax.enable_x64(True):
        c = example.build()
        given = {name: column[0] for name, column in TAPE.items()}
        update = lambda: c.update(given, c.init())[1]
        assert _kinds(c.init) == usual
        assert _kinds(update) == usual


def annotations_are_true(example: Example) -> None:
    """Every leaf is what the fields of its NamedTuple say."""
    c, row = example.build(), rows()[0]
    for state in (c.init(), c.update(row, c.init())[1], stepped(example).states[1]):
        _check_annotations(state)


def n_updates_are_one_trace(example: Example) -> None:
    steps = stepped(example)
    assert len(steps.outs) == STEPS
    assert steps.traces == 1


def jit_is_scan_is_vmap(example: Example) -> None:
    """Flags and counters are equal, floats to a few ulp: sums in another order."""
    c = example.build()
    both = {n: np.stack([TAPE[n], BROKEN_FROM_THE_START[n]]) for n in TAPE}
    scanned = recorded(example)[:2]
    scanned_broken = recorded(example, broken_from_the_start=True)[:2]
    mapped = jax.jit(jax.vmap(lambda tape: scan(c, tape)[:2]))(both)
    assert_near(stack(stepped(example).outs), scanned)
    assert_near(_take(mapped, 0), scanned)
    assert_near(_take(mapped, 1), scanned_broken)


def eager_is_near_jit(example: Example) -> None:
    """One step from each state; XLA fuses, so bit-exactness is not claimed."""
    c, steps = example.build(), stepped(example)
    eager = [c.update(*given) for given in zip(rows(), steps.states, strict=False)]
    assert_near(stack(eager), stack(steps.outs), rtol=1e-5)


def buffers_can_be_donated(example: Example) -> None:
    c = example.build()
    update, state, steps = jax.jit(c.update, donate_argnums=1), c.init(), []
    for row in rows():
        decision, state = update(row, state)
        steps.append(jax.tree.map(np.array, decision))
    assert_near(stack(steps), recorded(example)[0])


def has_no_effects(example: Example) -> None:
    """No effect and no callback: nothing that reaches the host from inside a step."""
    c = example.build()
    jaxpr = jax.make_jaxpr(partial(scan, c))(dict(TAPE))
    assert not jaxpr.effects
    assert "callback" not in str(jaxpr)


def state_is_bounded(example: Example) -> None:
    """At most 4 KiB, no leaf without elements, the same size in every step."""
    start, *states = stepped(example).states
    size = _nbytes(start)
    assert size <= MAX_STATE_BYTES
    assert all(np.size(leaf) for leaf in jax.tree.leaves(start))
    assert all(_nbytes(state) == size for state in states)


def is_never_poisoned(example: Example) -> None:
    """No NaN in any decision or state, and factors that make sense."""
    for broken in (False, True):
        decisions, states, _ = recorded(example, broken_from_the_start=broken)
        for leaf in floats((decisions, states)).values():
            assert not np.isnan(leaf).any()
        assert np.all(np.isfinite(decisions.lr_scale) & (decisions.lr_scale >= 0))
        assert np.all(decisions.clip_norm > 0)


def a_nonfinite_step_leaves_statistics(example: Example) -> None:
    """From every state of the tape, for NaN, +inf and -inf, bit for bit."""
    steps = stepped(example)
    states = steps.states[1:]
    statistics = {
        path: leaf
        for path, leaf in floats(stack(states)).items()
        if not example.last_values & set(path.split("/"))
    }
    for poison in POISON:
        broken = dict.fromkeys(TAPE.keys() - COUNTS, jnp.float32(poison))
        after = [
            steps.update({**{n: row[n] + 1 for n in COUNTS}, **broken}, state)[1]
            for row, state in zip(rows(), states, strict=True)
        ]
        after = floats(stack(after))
        assert_same({path: after[path] for path in statistics}, statistics)


def moves_only_its_fields(example: Example) -> None:
    """Other fields are neutral constants; its own really move on the tape."""
    c = example.build()
    decision, _ = c.update(rows()[0], c.init())
    assert moved(decision) == example.moves
    decisions, neutral = recorded(example)[0], decide()
    for field in set(decisions._fields) - {"knobs"}:
        moves = np.any(getattr(decisions, field) != getattr(neutral, field))
        assert moves == (field in example.moves), field


def gauges_are_sound(example: Example) -> None:
    """Scalars under constant names that are never NaN; counts are never negative."""
    c = example.build()
    names = c.gauges(c.init()).keys()
    assert names
    for broken in (False, True):
        gauges = recorded(example, broken_from_the_start=broken)[2]
        assert gauges.keys() == names
        for name, gauge in {**gauges, **_first(c)}.items():
            assert gauge.dtype in DTYPES, name
            assert gauge.shape in ((STEPS,), ()), name
            assert not np.isnan(gauge).any(), name
            assert gauge.dtype != "int32" or np.all(gauge >= 0), name


def a_missing_signal_is_named(example: Example) -> None:
    """At trace time, with the controller, the signal and the closest one given."""
    c = example.build()
    assert c.signals == example.readers.keys()
    enough = {n: x for n, x in rows()[0].items() if n in c.signals}
    jax.eval_shape(c.update, enough, c.init())
    for name, reader in example.readers.items():
        misspelt = name[:-1]
        given = {misspelt if n == name else n: x for n, x in enough.items()}
        message = _type_error(c, given)
        for word in (reader, name, misspelt):
            assert f"`{word}`" in message, message


def hyperparameters_can_be_swept(example: Example) -> None:
    """`vmap` over the factory decides as the factory called once for each value."""
    numbers = example.arguments.keys() - example.sizes
    usual = {n: v for n in numbers if _is_number(v := example.arguments[n])}
    swept = usual.keys() - example.declarations
    policies = [usual, *({**usual, n: example.variations[n]} for n in swept)]
    sweep = jax.vmap(
        lambda policy: scan_moves(example.build(**policy)), axis_size=len(policies)
    )
    alone = [recorded(example)[0], *(varied(example)[name] for name in swept)]
    assert_near(whole(jax.jit(sweep)(stack(policies))), stack(alone))


def every_argument_matters(example: Example) -> None:
    """Each argument of the factory, changed alone, changes some decision."""
    parameters = inspect.signature(example.factory).parameters.keys()
    assert parameters == example.arguments.keys()
    assert parameters - example.declarations == example.variations.keys()
    usual = recorded(example)[0]
    for name, other in varied(example).items():
        pairs = zip(jax.tree.leaves(usual), jax.tree.leaves(other), strict=True)
        assert any(np.any(a != b) for a, b in pairs), name


def _is_number(value: Any) -> bool:
    is_flag = isinstance(value, (bool, enum.Enum))
    return isinstance(value, (int, float)) and not is_flag


def _avals(tree: Any) -> list[tuple[Any, str, bool]]:
    avals = [jax.typeof(leaf) for leaf in jax.tree.leaves(tree)]
    return [(aval.shape, str(aval.dtype), aval.weak_type) for aval in avals]


def _kinds(build: Any) -> list[Any]:
    leaves = jax.tree.leaves(jax.eval_shape(build))
    return [(leaf.shape, str(leaf.dtype), leaf.weak_type) for leaf in leaves]


def _take(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda x: np.asarray(x)[i], tree)


def _nbytes(state: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def _first(c: Any) -> dict[str, Any]:
    return {f"{name} at first": gauge for name, gauge in c.gauges(c.init()).items()}


def _type_error(c: Any, given: Any) -> str:
    try:
        jax.eval_shape(c.update, given, c.init())
    except TypeError as error:
        return str(error)
    raise AssertionError(f"a missing signal was not noticed among {sorted(given)}")


def _check_annotations(value: Any, hint: Any = Any) -> None:
    if get_origin(hint) is dict:
        for item in value.values():
            _check_annotations(item, get_args(hint)[1])
    elif isinstance(value, dict):
        for item in value.values():
            _check_annotations(item)
    elif isinstance(value, tuple):
        assert hint is Any or isinstance(value, hint), (value, hint)
        for name, inner in get_type_hints(type(value)).items():
            _check_annotations(getattr(value, name), inner)
    else:
        assert hint is not Any, f"a leaf without a type: {value!r}"
        assert isinstance(value, hint), f"{value!r} is no {hint}"


LAWS = (
    state_is_a_fixed_point,
    it_is_the_same_with_64_bits,
    annotations_are_true,
    n_updates_are_one_trace,
    jit_is_scan_is_vmap,
    eager_is_near_jit,
    buffers_can_be_donated,
    has_no_effects,
    state_is_bounded,
    is_never_poisoned,
    a_nonfinite_step_leaves_statistics,
    moves_only_its_fields,
    gauges_are_sound,
    a_missing_signal_is_named,
    hyperparameters_can_be_swept,
    every_argument_matters,
)
