"""Every schedule keeps every law, and the laws bite."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import pytest

import optaxctl as octl
from tests.schedules import laws
from tests.schedules.registry import REGISTRY, Entry

LAWS = [
    laws.is_the_closed_form,
    laws.is_exact_over_the_longest_run,
    laws.values_are_float32_and_strong,
    laws.is_clamped_at_both_ends,
    laws.is_the_same_compiled,
    laws.is_traced_once,
    laws.every_number_can_be_swept,
    laws.every_argument_matters,
    laws.wrong_arguments_are_named,
    laws.is_a_schedule_of_optax,
]


def test_every_schedule_is_in_the_registry() -> None:
    assert {*REGISTRY, "Units", "get", "hyperparams"} == set(octl.schedules.__all__)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", REGISTRY)
def test_law(name: str, law: Callable[[str, Entry], None]) -> None:
    law(name, REGISTRY[name])


def linear(alter: Callable[..., Any]) -> Callable[..., Any]:
    """`schedules.linear` with something wrong: `alter(schedule, step, steps)`."""

    def factory(
        transition_steps: Any, *, init_value: Any = 1.0, end_value: Any = 0.0
    ) -> Any:
        sound = SOUND(transition_steps, init_value=init_value, end_value=end_value)
        return lambda step: alter(sound, step, transition_steps)

    return factory


SOUND = octl.schedules.linear
BUGS: dict[str, tuple[Callable[..., Any], str, Callable[..., Any]]] = {
    "another curve": (
        laws.is_the_closed_form,
        "linear",
        linear(lambda s, t, n: s(t) ** 2),
    ),
    "a late end": (laws.is_the_closed_form, "linear", linear(lambda s, t, n: s(t - 1))),
    "counted in float32": (
        laws.is_exact_over_the_longest_run,
        "multistep",
        lambda milestones, *, gamma, init_value=1.0: (
            lambda t: gamma ** sum(jnp.float32(t) >= m for m in milestones)
        ),
    ),
    "as wide as the step": (
        laws.values_are_float32_and_strong,
        "linear",
        linear(lambda s, t, n: s(t).astype(jnp.bfloat16)),
    ),
    "a bare number": (
        laws.values_are_float32_and_strong,
        "linear",
        linear(lambda s, t, n: 1.0),
    ),
    "negative after the end": (
        laws.is_clamped_at_both_ends,
        "linear",
        linear(lambda s, t, n: 1 - jnp.asarray(t) / n),
    ),
    "rounded twice where eager": (
        laws.is_the_same_compiled,
        "linear",
        linear(lambda s, t, n: 0.3 * (1 - t / jnp.float32(80)) + 0.07 * (t / 80)),
    ),
    "a Python branch": (
        laws.is_traced_once,
        "linear",
        linear(lambda s, t, n: s(t) if t < 80 else s(80)),
    ),
    "a step count in Python": (
        laws.every_number_can_be_swept,
        "linear",
        linear(lambda s, t, n: s(t) * int(n)),
    ),
    "a deaf argument": (
        laws.every_argument_matters,
        "linear",
        lambda transition_steps, *, init_value=1.0, end_value=0.0, cycle=False: SOUND(
            transition_steps
        ),
    ),
    "a silent constant": (
        laws.wrong_arguments_are_named,
        "linear",
        lambda transition_steps, *, init_value=1.0, end_value=0.0: lambda step: 1.0,
    ),
    "a row of one": (
        laws.is_a_schedule_of_optax,
        "linear",
        linear(lambda s, t, n: s(t)[None] * jnp.ones(2)),
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_laws_bite(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, name, broken = BUGS[bug]
    law(name, REGISTRY[name])
    monkeypatch.setattr(octl.schedules, name, broken)
    with pytest.raises((AssertionError, pytest.fail.Exception, TypeError, ValueError)):
        law(name, REGISTRY[name])
