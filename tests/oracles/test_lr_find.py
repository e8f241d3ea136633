"""The learning-rate finder against what fastai and Lightning suggest on a curve."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from optaxctl.host._suggest import suggest
from tests.host.reference import fastai, lightning
from tests.oracles._cases import (
    MATCHED,
    Case,
    Verdict,
    content,
    differs,
    settle,
    unproven,
)

TOLERANCE = 1e-6
NAMES = {
    "fastai_valley": "valley",
    "fastai_steep": "steep",
    "fastai_minimum": "minimum",
    "fastai_slide": "slide",
    "lightning": "gradient",
}
QUIRKS = {
    "last rate": "a fall in the first two points alone suggests the last rate",
    "infinite": "an infinite loss stays in the curve",
    "double": "losses that differ in float64 are one in float32",
}
Rates = dict[str, float]


@functools.cache
def rates(start_lr: float, end_lr: float, num_it: int) -> jax.Array:
    """The rates of a test in which nothing happens."""
    losses = jnp.zeros(num_it)
    found = octl.lr_find(
        lambda w, x: w * x, 0.0, losses, start_lr=start_lr, end_lr=end_lr
    )
    return found.learning_rates


def observed(config: dict[str, Any], smoothed: np.ndarray) -> Rates:
    """A test that ended early has fewer losses than rates."""
    rest = np.full(config["num_it"] - len(smoothed), np.nan)
    curve = jnp.asarray(np.append(smoothed, rest), jnp.float32)
    found = suggest(rates(**config), curve, jnp.int32(len(smoothed)))
    return {theirs: float(getattr(found, ours)) for theirs, ours in NAMES.items()}


def reference(
    config: dict[str, Any], lrs: np.ndarray, losses: np.ndarray, quirks: frozenset[str]
) -> Rates:
    """What the libraries suggest with these quirks."""
    if "double" not in quirks:
        losses = losses.astype(np.float32).astype(np.float64)
    window = slice(config["num_it"] // 10, -5)
    x, y = lrs[window], losses[window]
    broken = np.isnan(y) if "infinite" in quirks else ~np.isfinite(y)
    end = broken.argmax() if broken.any() else len(y)
    found = fastai(x[:end], y[:end], last_rate="last rate" in quirks)
    gradient = lightning(lrs, losses)
    suggested = found._asdict() | {"gradient": gradient}
    return {theirs: suggested[ours] for theirs, ours in NAMES.items()}


def judge(case: Case) -> Verdict:
    expected = {n: case.expected[n] for n in NAMES if n in case.expected}
    theirs = {n: np.nan if rate is None else rate for n, rate in expected.items()}
    if not theirs:
        return Verdict("not applicable", "the library raises an error")
    lrs, losses = (
        np.asarray(case.inputs[name], np.float64) for name in ("lrs", "smoothed_losses")
    )
    config = {name: case.config[name] for name in ("start_lr", "end_lr", "num_it")}
    if not np.allclose(lrs, rates(**config)[: len(lrs)], TOLERANCE, 0):
        return unproven("the rates are others")
    ours = observed(config, losses)
    agrees = lambda a, b: all(
        np.isclose(a[n], b[n], TOLERANCE, 0, True) for n in theirs
    )
    if agrees(ours, theirs):
        return MATCHED
    return differs(
        lambda found: agrees(found, ours),
        lambda found: agrees(found, theirs),
        QUIRKS,
        lambda quirks: reference(config, lrs, losses, quirks),
    )


def test_suggestions_are_those_of_the_libraries(
    oracles: Path, pytestconfig: pytest.Config
) -> None:
    cases = [
        Case(c["lib"], c["name"], c["config"], c["inputs"], c["expected"])
        for c in content(oracles, "learning_rate.json.gz")["cases"]
        if c["name"].startswith("lr_finder/")
    ]
    settle(pytestconfig, cases, judge)


CONFIG = {"start_lr": 1e-7, "end_lr": 10.0, "num_it": 100}
CURVE = 2 - np.tanh(np.linspace(-3, 3, 100)) + np.exp(np.linspace(-9, 2, 100))


def made(losses: np.ndarray, **changes: Any) -> Case:
    """A case as the libraries would have written it."""
    lrs = 1e-7 * 1e8 ** (np.arange(len(losses)) / 100)
    expected = reference(CONFIG, lrs, losses, frozenset(QUIRKS)) | changes
    inputs = {"lrs": lrs, "smoothed_losses": losses}
    return Case("fastai+lightning", "made", CONFIG, inputs, expected)


TIES = [(50 + n, CURVE[49] * (1 - 1e-9 * n)) for n in range(8)]


def broken(*values: tuple[int, float]) -> np.ndarray:
    losses = CURVE.copy()
    for at, value in values:
        losses[at] = value
    return losses


@pytest.mark.parametrize(
    ("case", "outcome", "reason"),
    [
        (made(CURVE), "matched", ""),
        (made(CURVE[:60]), "matched", ""),
        (made(CURVE[:9], lightning=None), "matched", ""),
        (made(broken((40, np.nan))), "matched", ""),
        (made(broken((40, np.nan), (70, np.inf))), "matched", ""),
        (made(broken((60, np.inf))), "differs", QUIRKS["infinite"]),
        (
            made(np.r_[CURVE[:10], 1.5, np.arange(1.0, 90)]),
            "differs",
            QUIRKS["last rate"],
        ),
        (made(broken(*TIES)), "differs", QUIRKS["double"]),
        (made(CURVE, fastai_valley=1e-3), "unproven", ""),
        (made(CURVE, lightning=None), "unproven", ""),
    ],
)
def test_a_case_is_judged_as_it_should_be(
    case: Case, outcome: str, reason: str
) -> None:
    verdict = judge(case)
    assert verdict.outcome == outcome
    assert reason in verdict.reason


def test_an_error_of_the_library_is_not_applicable() -> None:
    case = made(CURVE)._replace(expected={"error": "IndexError"})
    assert judge(case).outcome == "not applicable"
