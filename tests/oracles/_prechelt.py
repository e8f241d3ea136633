"""GL, PQ and UP against Prechelt's definitions, evaluated by someone else."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from tests.oracles._cases import MATCHED, Case, Verdict, only, unproven

RTOL = 1e-4


class Found(NamedTuple):
    """What a criterion did in every epoch."""

    stop: np.ndarray
    gauges: dict[str, np.ndarray]


def judge(case: Case) -> Verdict:
    """Every criterion must stop where the definition does, and see the same numbers."""
    strip = case.config["k"]
    if not only(case.config, {"k"}):
        return unproven(f"unknown options in {case.config}")
    expected = case.expected["stop_index"]
    ours = {name: first(found(name, strip, case.inputs).stop) for name in expected}
    wrong = [
        f"{name}: {ours[name]} instead of {stop}"
        for name, stop in expected.items()
        if ours[name] != stop
    ]
    wrong += traces(case.expected, strip, case.inputs)
    return unproven("; ".join(wrong)) if wrong else MATCHED


def found(name: str, strip: int, inputs: Mapping[str, Sequence[float]]) -> Found:
    """Runs our criterion of the name that the cases give it, as `PQ_0.75`."""
    rule, _, threshold = name.partition("_")
    series = [np.asarray(inputs[signal], np.float32) for signal in ("train", "valid")]
    stop, gauges = replayed(rule)(float(threshold), strip, *series)
    return Found(np.asarray(stop) != 0, jax.tree.map(np.asarray, gauges))


@functools.cache
def replayed(rule: str) -> Any:
    @jax.jit
    def run(threshold: Any, strip: Any, train: Any, valid: Any) -> Any:
        controller = {
            "GL": lambda: octl.stop.generalization_loss(threshold),
            "PQ": lambda: octl.stop.progress_quotient(threshold, strip, min_progress=0),
            "UP": lambda: octl.stop.successive_rises(threshold.astype("int32"), strip),
        }[rule]()
        result = octl.replay(controller, {"loss": train, "val_loss": valid})
        return result.decisions.stop, result.gauges

    return run


def first(stop: np.ndarray) -> int | None:
    return int(stop.argmax()) if stop.any() else None


def traces(
    expected: Mapping[str, Any], strip: int, inputs: Mapping[str, Sequence[float]]
) -> list[str]:
    """What differs of GL in every epoch, and of P at the ends of strips."""
    ends = slice(strip - 1, None, strip)
    lost = found("GL_0", strip, inputs).gauges["generalization_loss"]
    progress = found("PQ_0", strip, inputs).gauges["progress"]
    pairs = {"GL": (lost, slice(None)), f"P{strip}": (progress, ends)}
    return [
        f"{name} differs"
        for name, (ours, where) in pairs.items()
        if name in expected and not near(ours[where], expected[name][where])
    ]


def near(ours: np.ndarray, theirs: Sequence[float]) -> bool:
    return np.allclose(ours, np.asarray(theirs, float), rtol=RTOL, atol=RTOL)
