"""Every law holds for every public controller."""

import inspect
import types
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest

import optaxctl as octl
from tests.laws.laws import LAWS
from tests.laws.registry import EXAMPLES
from tests.laws.resume import resumes_exactly, resumes_exactly_inside_control

ALL_LAWS = (*LAWS, resumes_exactly, resumes_exactly_inside_control)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("law", ALL_LAWS, ids=lambda law: law.__name__)
def test_law(law: Any, name: str) -> None:
    law(EXAMPLES[name])


def test_every_public_controller_is_registered() -> None:
    assert set(EXAMPLES) == set(_public_factories())


def _public_factories() -> Iterator[str]:
    for name in octl.__all__:
        value = getattr(octl, name)
        members = (
            {f"{name}.{n}": getattr(value, n) for n in getattr(value, "__all__", ())}
            if isinstance(value, types.ModuleType)
            else {name: value}
        )
        for path, member in members.items():
            if inspect.isfunction(member):
                if get_type_hints(member).get("return") is octl.Controller:
                    yield path
