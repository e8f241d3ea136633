"""The schedules against those of torch, Transformers, timm, Keras and fastai."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.oracles import _torch_rules as torch_rules
from tests.oracles._cases import (
    MATCHED,
    Case,
    Verdict,
    content,
    differs,
    settle,
    unproven,
)
from tests.oracles._scheduled import HORIZON, LIBRARIES

TOLERANCE = 1e-6  # of the schedule's peak
ULP = 8 * 2**-24  # a few roundings of float32, the sine's own among them, squared
STEPS = jnp.arange(1100)  # beyond the end of every schedule of Optax here
PER_GROUP = ("base_lr", "max_lr", "base_momentum", "max_momentum", "lr_lambda")


@pytest.mark.oldest
def test_schedules_follow_the_library(
    oracles: Path, pytestconfig: pytest.Config
) -> None:
    cases = [
        Case(c["lib"], c["name"], c["config"], c["inputs"], c["expected"])
        for c in content(oracles, "learning_rate.json.gz")["cases"]
        if c["lib"] in LIBRARIES and "metrics" not in c["inputs"]
    ]
    settle(pytestconfig, cases, judge)


def judge(case: Case) -> Verdict:
    if not case.expected["lr"]:
        return Verdict("not applicable", "the constructor raises")
    if (reason := refused(case)) is not None:
        first = next(runs(case)).config
        with pytest.raises(ValueError, match="must be"):
            LIBRARIES[case.library](first)
        return Verdict("differs", reason)
    steps = times(case)
    verdicts = [judge_run(case, run, steps) for run in runs(case)]
    return max(verdicts, key=lambda verdict: (verdict != MATCHED, verdict))


def times(case: Case) -> np.ndarray:
    if "pos" in case.inputs:
        return np.round(np.asarray(case.inputs["pos"]) * HORIZON).astype(np.int32)
    if "step_argument" in case.inputs:
        return np.asarray(case.inputs["step_argument"])
    return np.arange(len(case.expected["lr"]))


class Run(NamedTuple):
    """The configuration of one parameter group, and what the library did with it."""

    config: dict[str, Any]
    rates: np.ndarray
    momenta: np.ndarray | None


def runs(case: Case) -> Iterator[Run]:
    """One for each parameter group."""
    rates, momenta = np.asarray(case.expected["lr"]), case.expected.get("momentum")
    optimizer = case.config.get("optimizer", {})
    groups = rates.shape[1] if rates.ndim == 2 else 1
    bases = optimizer.get("groups", [optimizer.get("lr")] * groups)
    for i in range(groups):
        pick = lambda values, i=i: (
            values[i] if isinstance(values, list) and len(values) == groups else values
        )
        config = {n: pick(v) if n in PER_GROUP else v for n, v in case.config.items()}
        config["optimizer"] = {**optimizer, "lr": bases[i]}
        of_group = lambda values, i=i: (
            np.asarray(values)[:, i] if np.ndim(values) == 2 else np.asarray(values)
        )
        moved = None if momenta is None else of_group(momenta)
        yield Run(config, of_group(rates), moved)


def judge_run(case: Case, run: Run, steps: np.ndarray) -> Verdict:
    config, rates, momenta = run
    try:
        course = LIBRARIES[case.library](config)
    except NotImplementedError as error:
        return unproven(f"no adapter for {error}")
    verdict = judge_values(case, course.rate, config, rates, steps, torch_rules.rates)
    if momenta is None or verdict.outcome == "unproven":
        return verdict
    if course.momentum is None:
        constant = np.ptp(momenta) == 0
        return verdict if constant else unproven("the momentum is cycled")
    rule = torch_rules.momenta
    other = judge_values(case, course.momentum, config, momenta, steps, rule)
    return max(verdict, other, key=lambda verdict: (verdict != MATCHED, verdict))


def judge_values(
    case: Case, course: Any, config: Any, theirs: np.ndarray, steps: Any, rule: Any
) -> Verdict:
    ours = np.asarray(course(jnp.asarray(steps)), np.float64)
    if close(ours, theirs):
        return MATCHED
    begun = case.library == "timm" and theirs[0] == config["optimizer"]["lr"]
    if begun and close(ours[1:], theirs[1:]):
        return Verdict("differs", "the rate of step 0 is not the schedule's")
    if case.library != "torch":
        return unproven(f"off by {np.abs(ours - theirs).max()}")
    return differs(
        lambda values: close(ours, values),
        lambda values: np.allclose(values, theirs, rtol=1e-12, atol=1e-12),
        torch_rules.QUIRKS,
        lambda quirks: rule(config, steps, quirks),
    )


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max()))


def refused(case: Case) -> str | None:
    """Why a configuration that the library takes is a `ValueError` here."""
    late = case.config.get("pct_start", 0.3) > 0.5
    if late and case.config.get("three_phase"):
        return "a third phase that never begins is refused here"
    lengths = {"LinearLR": "total_iters", "PolynomialLR": "total_iters"}
    lengths |= {"CosineAnnealingLR": "T_max"}
    length = lengths.get(case.config.get("scheduler", ""))
    if length and case.config.get(length) == 0:
        return "a way of no steps is refused here"
    return None


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("decay_steps", [1, 7, 1000])
def test_cosine_is_that_of_optax(decay_steps: int, alpha: float) -> None:
    ours = octl.schedules.cosine(decay_steps, init_value=0.3, end_value=0.3 * alpha)
    theirs = optax.cosine_decay_schedule(0.3, decay_steps, alpha)
    np.testing.assert_allclose(ours(STEPS), theirs(STEPS), rtol=0, atol=0.3 * ULP)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.0), (0.01, 0.02), (0.5, 0.0)])
@pytest.mark.parametrize(("warmup", "decay"), [(1, 1), (10, 90), (500, 500)])
def test_warmup_is_that_of_optax(
    warmup: int, decay: int, start: float, end: float
) -> None:
    fall = octl.schedules.cosine(decay, init_value=0.3, end_value=end)
    ours = octl.schedules.warmup(fall, warmup, init_value=start)
    theirs = optax.warmup_cosine_decay_schedule(start, 0.3, warmup, warmup + decay, end)
    np.testing.assert_allclose(ours(STEPS), theirs(STEPS), rtol=0, atol=0.5 * ULP)


@pytest.mark.parametrize(
    ("config", "inputs", "reason"),
    [
        (
            {"scheduler": "CosineAnnealingWarmRestarts", "T_0": 2, "T_mult": 3},
            {"step_argument": [0, 1, 241, 242, 243]},
            "logarithm",
        ),
        (
            {
                "scheduler": "ChainedScheduler",
                "schedulers": [
                    {"scheduler": "ExponentialLR", "gamma": 0.9},
                    {"scheduler": "CosineAnnealingWarmRestarts", "T_0": 7},
                ],
            },
            {},
            "overwrites",
        ),
        (
            {
                "scheduler": "ChainedScheduler",
                "schedulers": [
                    {"scheduler": "ExponentialLR", "gamma": 0.9},
                    {"scheduler": "CosineAnnealingLR", "T_max": 7},
                ],
            },
            {},
            "overwrites",
        ),
    ],
)
def test_what_torch_gets_wrong_is_known(
    config: dict[str, Any], inputs: dict[str, Any], reason: str
) -> None:
    """None of the given cases shows it; these are made with the rules of torch."""
    config = {**config, "optimizer": {"lr": 0.1}}
    steps = np.asarray(inputs.get("step_argument", np.arange(30)))
    theirs = torch_rules.rates(config, steps, frozenset(torch_rules.QUIRKS))
    case = Case("torch", "made up", config, inputs, {"lr": theirs.tolist()})
    verdict = judge(case)
    assert verdict.outcome == "differs"
    assert reason in verdict.reason


@pytest.mark.parametrize("name", ["LinearLR", "PolynomialLR"])
def test_a_way_of_no_steps_is_refused(name: str) -> None:
    config = {"scheduler": name, "total_iters": 0, "optimizer": {"lr": 0.1}}
    verdict = judge(Case("torch", "made up", config, {}, {"lr": [0.1] * 5}))
    assert verdict == Verdict("differs", "a way of no steps is refused here")
