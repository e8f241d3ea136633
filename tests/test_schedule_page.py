"""The page of the schedules says and shows what they are now."""

import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

import numpy as np
import optax
import pytest

import optaxctl as octl
from optaxctl.schedules._peers import PEERS
from optaxctl.schedules._torch import TORCH
from tests.schedules.registry import REGISTRY

REFERENCE = pathlib.Path(__file__).parent.parent / "docs" / "reference"
RUN = "run `PYTHONPATH=. python docs/reference/schedules.py`"


@pytest.fixture(scope="module")
def generator() -> Mapping[str, Any]:
    return runpy.run_path(str(REFERENCE / "schedules.py"))


def kept(name: str) -> str:
    return (REFERENCE / "schedules" / f"{name}.svg").read_text(encoding="utf-8")


def same(some: Mapping[int, float], others: Mapping[int, float]) -> bool:
    """Whether two courses agree in the four digits that a picture tells."""
    return some.keys() == others.keys() and np.allclose(
        [*some.values()], [*others.values()], rtol=6e-4, atol=1e-6
    )


def test_page_is_what_the_docstrings_say(generator: Mapping[str, Any]) -> None:
    written = (REFERENCE / "schedules.md").read_text(encoding="utf-8")
    assert written == generator["page"](), RUN


def test_every_schedule_has_a_picture_and_every_picture_a_schedule() -> None:
    pictures = {file.stem for file in (REFERENCE / "schedules").iterdir()}
    assert pictures == REGISTRY.keys(), RUN


@pytest.mark.parametrize("name", REGISTRY)
def test_picture_shows_the_values_of_now(
    name: str, generator: Mapping[str, Any]
) -> None:
    assert same(generator["shown"](kept(name)), generator["values"](name)), RUN


@pytest.mark.parametrize("name", REGISTRY)
def test_call_on_the_page_is_the_one_drawn(
    name: str, generator: Mapping[str, Any]
) -> None:
    course = eval(generator["call"](name), {"octl": octl})
    steps = generator["values"](name)
    assert {step: float(course(step)) for step in steps} == steps


@pytest.mark.parametrize("change", [{0: 1.001}, {100: 1e-5}, {110: 0.0}])
def test_a_stale_picture_is_seen(
    change: dict[int, float], generator: Mapping[str, Any]
) -> None:
    values = generator["values"]("linear")
    shown = generator["shown"](generator["picture"]("linear"))
    assert same(shown, values)
    assert not same(shown, values | change)


def test_pictures_are_small_labelled_and_drawn_the_same_again(
    generator: Mapping[str, Any],
) -> None:
    picture = generator["picture"]("cosine")
    assert generator["picture"]("cosine") == picture
    assert ">step<" in picture
    assert ">value<" in picture
    assert not any(word in picture for word in ("<dc:date>", "clip-path"))
    assert all(len(kept(name)) < 12_000 for name in REGISTRY)


def test_names_elsewhere_are_names_there(generator: Mapping[str, Any]) -> None:
    assert {key for peers in PEERS.values() for key in peers} <= generator[
        "LIBRARIES"
    ].keys()
    theirs = [n for p in PEERS.values() for n in p.get("optax", "").split(", ") if n]
    assert all(hasattr(optax, name.partition(" ")[0]) for name in theirs)
    assert TORCH.keys() <= {peers.get("torch") for peers in PEERS.values()}
    assert PEERS.keys() <= REGISTRY.keys()
