"""Every key of a configuration is an argument of a factory, and arrives there."""

import inspect
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

import pytest

import optaxctl as octl
from optaxctl.host.config._build import Builder
from optaxctl.host.config._factories import Function, Key
from optaxctl.host.config._rules import _REFUSED, Rule, check, keys, nested, rule, types
from optaxctl.host.config._sections import SECTIONS
from optaxctl.host.config._yaml import Source

GROUPS = (*dict.fromkeys(SECTIONS.values()), "watch")
RULES = [(group, kind) for group in GROUPS for kind in types(group)]
# What only code can give, by the annotations: objects, and functions of a loop.
BY_CODE = {
    "epochs": {"step", "carry", "batches", "evaluate", "checkpoints", "params", "pure"}
    | {"restore", "interrupt", "history"}
}
PARTS = {
    "schedules": {"type": "linear", "transition_steps": 5},
    "watch": {"type": "spike", "threshold": 5.0},
    "guard": {"type": "skip_spikes", "window": 99},
    "lr": {"type": "plateau", "updates": 3},
    "clip": {"type": "auto", "decay": 0.5},
    "stop": {"type": "trend", "window": 9},
}


def called(group: str, kind: str, values: dict[str, Any], monkeypatch: Any) -> Any:
    """Returns the arguments with which the factory of a rule is called."""
    of = rule(group, kind)
    module = import_module(of.factory.module)
    takes = inspect.signature(getattr(module, kind))

    def factory(*args: Any, **kwargs: Any) -> tuple[str, ...]:
        bound = takes.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        return tuple(
            f"{name}={shown(value)}" for name, value in bound.arguments.items()
        )

    source, problems = Source({}, {(): "here"}), []
    typed = {"type": kind} if len(types(group)) > 1 else {}
    made = check(group, typed | values, (), source, problems)
    assert isinstance(made, Rule), problems
    with monkeypatch.context() as patch:
        patch.setattr(module, kind, factory)
        builder = Builder(octl.config.parse(""))
        call = builder._made(made, ())
    builder.done()
    return call


def shown(value: Any) -> str:
    """Returns what tells values apart: of a function, what it makes of 3."""
    if type(value) in (tuple, list):
        return str([shown(v) for v in value])
    made: Any = value
    if callable(value):
        try:
            made = value(3)
            made = float(made)
        except TypeError:
            return "a function of something else"
    return repr(made)


def sample(group: str, key: Key, number: int) -> Any:
    """Returns one of two values that a key takes."""
    if not key.nested:
        return plain(key.type, number)
    inner = nested(group, key)
    one = [PARTS[inner], "nonfinite" if inner == "watch" else {**PARTS[inner]}][number]
    if number and isinstance(one, dict):
        name = next(n for n in one if n != "type")
        one[name] = one[name] / 2 if isinstance(one[name], float) else one[name] + 1
    return {"one": one, "list": [one], "names": {"part": one}}[key.nested]


def plain(kind: Any, number: int) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return inner[number]
    if origin is tuple:
        return [plain(inner[0], number)]
    if origin is dict:
        return {"window": number}
    if inner:
        return plain(inner[0], number)
    samples = {
        bool: [False, True],
        float: [0.5, 0.25],
        int: [5, 6],
        str: ["one", "two"],
        Function: ["operator:neg", "operator:pos"],
    }
    return samples[kind][number]


@pytest.mark.parametrize(("group", "kind"), RULES)
def test_every_key_arrives(group: str, kind: str, monkeypatch: Any) -> None:
    known = keys(rule(group, kind))
    base = {key.name: sample(group, key, 0) for key in known if key.required}
    for key in known:
        calls = [
            called(group, kind, {**base, key.name: sample(group, key, n)}, monkeypatch)
            for n in range(2)
        ]
        changed = [a for a, b in zip(*calls, strict=True) if a != b]
        assert len(changed) == 1, key.name
        names = ("rules", "controllers") if key.nested == "names" else (key.name,)
        assert changed[0].startswith(tuple(f"{name}=" for name in names)), key.name


@pytest.mark.parametrize(("group", "kind"), RULES)
def test_keys_are_the_arguments_with_their_defaults(group: str, kind: str) -> None:
    of = rule(group, kind)
    takes = inspect.signature(getattr(import_module(of.factory.module), kind))
    named = {key.name: key for key in keys(of)}
    missing = takes.parameters.keys() - named - _REFUSED.keys() - {"self"}
    assert missing == BY_CODE.get(kind, set()) & takes.parameters.keys()
    for name, key in named.items():
        parameter = takes.parameters[name]
        assert key.meaning, name
        assert key.spread == (parameter.kind in (2, 4)), name
        if parameter.kind in (2, 4):
            continue
        assert key.required == (parameter.default is parameter.empty), name
        # A default that is no plain value is left to the factory.
        if not key.required and key.default is not None:
            assert key.default == parameter.default, name


def test_every_public_factory_is_a_type() -> None:
    for group, family in {"lr": "lr", "clip": "clip", "stop": "stop"}.items():
        module = getattr(octl, family)
        public = {n for n in module.__all__ if inspect.isfunction(getattr(module, n))}
        assert public <= types(group).keys()
    schedules = {n for n in octl.schedules.__all__ if n.islower()}
    assert schedules - types("schedules").keys() == {"get", "hyperparams"}


def test_what_does_not_act_is_refused() -> None:
    for key in _REFUSED:
        with pytest.raises(octl.config.ConfigError, match="is not read here"):
            octl.config.parse({"early_stopping": {key: True}})
