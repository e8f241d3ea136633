"""`schedules.cosine` and `schedules.warmup` against the cosines of other libraries."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from tests.oracles._cases import (
    MATCHED,
    Case,
    Verdict,
    content,
    differs,
    later,
    only,
    settle,
)

ISSUE = 3  # the issue that brings the other schedules

# Of the peak: a few roundings of float32, the sine's own among them, squared.
TOLERANCE = 8 * 2**-24
STEPS = jnp.arange(1100)  # beyond the end of every schedule here


class Course(NamedTuple):
    """A warm-up and a cosine, in steps and rates."""

    rate: float
    decay_steps: int
    end: float = 0.0
    warmup_steps: int = 0
    start: float = 0.0


def torch(config: dict[str, Any]) -> Course | None:
    if config["scheduler"] != "CosineAnnealingLR":
        return None
    rate = config["optimizer"]["lr"]
    return Course(rate, config["T_max"], config.get("eta_min", 0.0))


def transformers(config: dict[str, Any]) -> Course | None:
    known = ("scheduler", "optimizer", "num_warmup_steps", "num_training_steps")
    if config["scheduler"] not in ("cosine", "cosine_with_min_lr"):
        return None
    if not only(config, (*known, "min_lr", "min_lr_rate")):
        return None
    rate, warmup = config["optimizer"]["lr"], config["num_warmup_steps"]
    end = config.get("min_lr", config.get("min_lr_rate", 0.0) * rate)
    return Course(rate, config["num_training_steps"] - warmup, end, warmup)


def timm(config: dict[str, Any]) -> Course | None:
    known = ("scheduler", "optimizer", "t_initial", "lr_min", "warmup_t")
    prefix = ("warmup_lr_init", "warmup_prefix")
    if config["scheduler"] != "cosine" or not only(config, (*known, *prefix)):
        return None
    warmup = config.get("warmup_t", 0)
    if warmup and not config.get("warmup_prefix"):
        return None  # the ramp covers the begin of the cosine instead of preceding it
    rate, start = config["optimizer"]["lr"], config.get("warmup_lr_init", 0.0)
    return Course(rate, config["t_initial"], config.get("lr_min", 0.0), warmup, start)


def keras(config: dict[str, Any]) -> Course | None:
    if config["schedule"] != "CosineDecay":
        return None
    start = config["initial_learning_rate"]
    rate = config.get("warmup_target") or start
    warmup = config.get("warmup_steps", 0) if config.get("warmup_target") else 0
    end = config.get("alpha", 0.0) * rate
    return Course(rate, config["decay_steps"], end, warmup, start)


LIBRARIES: dict[str, Callable[[dict[str, Any]], Course | None]] = {
    "torch": torch,
    "transformers": transformers,
    "timm": timm,
    "keras": keras,
}


def observed(course: Course, steps: int) -> np.ndarray:
    schedule = octl.schedules.cosine(
        course.decay_steps, init_value=course.rate, end_value=course.end
    )
    if course.warmup_steps:
        schedule = octl.schedules.warmup(
            schedule, course.warmup_steps, init_value=course.start
        )
    return np.asarray(schedule(jnp.arange(steps, dtype=jnp.int32)), np.float64)


def reference(course: Course, steps: int, quirks: frozenset[str]) -> np.ndarray:
    """The closed form, which torch and transformers continue beyond its end."""
    values = []
    for step in range(steps):
        if step < course.warmup_steps:
            share = step / course.warmup_steps
            values.append(course.start + (course.rate - course.start) * share)
            continue
        at = step - course.warmup_steps
        at = at if "periodic" in quirks else min(at, course.decay_steps)
        height = (1 + math.cos(math.pi * at / course.decay_steps)) / 2
        values.append(course.end + (course.rate - course.end) * height)
    return np.asarray(values)


QUIRKS = {"periodic": "the rate rises again after the end"}


def judge(case: Case) -> Verdict:
    find = LIBRARIES.get(case.library)
    course = find(case.config) if find else None
    if course is None or "error" in case.expected or "step_argument" in case.inputs:
        return later(ISSUE)
    theirs = np.asarray(case.expected["lr"], np.float64)
    if theirs.ndim > 1:
        return later(ISSUE)
    ours = observed(course, len(theirs))
    if close(ours, theirs, course):
        return MATCHED
    return differs(
        lambda values: close(ours, values, course),
        lambda values: np.allclose(values, theirs, rtol=0, atol=1e-12),
        QUIRKS,
        lambda quirks: reference(course, len(theirs), quirks),
    )


def close(a: np.ndarray, b: np.ndarray, course: Course) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE * course.rate))


def test_cosine_follows_the_library(oracles: Path, pytestconfig: pytest.Config) -> None:
    cases = [
        Case(c["lib"], c["name"], c["config"], c["inputs"], c["expected"])
        for c in content(oracles, "learning_rate.json.gz")["cases"]
        if "metrics" not in c["inputs"]
    ]
    settle(pytestconfig, cases, judge)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("decay_steps", [1, 7, 1000])
def test_cosine_is_that_of_optax(decay_steps: int, alpha: float) -> None:
    ours = octl.schedules.cosine(decay_steps, init_value=0.3, end_value=0.3 * alpha)
    theirs = optax.cosine_decay_schedule(0.3, decay_steps, alpha)
    np.testing.assert_allclose(ours(STEPS), theirs(STEPS), rtol=0, atol=0.3 * TOLERANCE)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.0), (0.01, 0.02), (0.5, 0.0)])
@pytest.mark.parametrize(("warmup", "decay"), [(1, 1), (10, 90), (500, 500)])
def test_warmup_is_that_of_optax(
    warmup: int, decay: int, start: float, end: float
) -> None:
    fall = octl.schedules.cosine(decay, init_value=0.3, end_value=end)
    ours = octl.schedules.warmup(fall, warmup, init_value=start)
    theirs = optax.warmup_cosine_decay_schedule(start, 0.3, warmup, warmup + decay, end)
    np.testing.assert_allclose(ours(STEPS), theirs(STEPS), rtol=0, atol=0.5 * TOLERANCE)
