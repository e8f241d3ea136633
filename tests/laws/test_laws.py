"""Every law holds for every public controller."""

import types
from collections.abc import Iterator
from inspect import signature
from typing import Any

import pytest

import optaxctl as octl
from tests.laws.laws import LAWS
from tests.laws.registry import EXAMPLES
from tests.laws.resume import resumes_exactly, resumes_exactly_inside_control

ALL_LAWS = (*LAWS, resumes_exactly, resumes_exactly_inside_control)


@pytest.mark.parametrize("law", ALL_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", EXAMPLES)
def test_law(law: Any, name: str) -> None:
    law(EXAMPLES[name])


def test_every_public_controller_is_registered() -> None:
    assert set(EXAMPLES) == set(_public_factories())


def _public_factories() -> Iterator[str]:
    for name, value in _public_names():
        is_function = isinstance(value, types.FunctionType)
        if is_function and signature(value).return_annotation is octl.Controller:
            yield name


def _public_names() -> Iterator[tuple[str, Any]]:
    for name in dir(octl):
        value = getattr(octl, name)
        yield name, value
        if isinstance(value, types.ModuleType):
            for member in getattr(value, "__all__", ()):
                yield f"{name}.{member}", getattr(value, member)
