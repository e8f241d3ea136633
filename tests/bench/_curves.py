"""What rules of stopping would have done to recorded runs: `-m tests.bench._curves`.

Every run becomes a series of evaluations: DeepOBS' epochs as they are, AlgoPerf's
losses and the returns of RL Baselines3 Zoo as means of equal blocks, 199 at most.

The oracle knows the whole series and stops at its best value. A rule agrees if it does
not stop before that. Its regret is the part of the run's whole gain, from the first
value to the best, that it missed; its saving is the part of the run that it spared.
"""

import argparse
import csv
import gzip
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import optaxctl as octl
from optaxctl import stop
from tests.bench._protocol import Report, progress

HERE = Path(__file__).parents[3] / "shared" / "curves"
DIRECTORY = Path(os.environ.get("OPTAXCTL_CURVES", HERE))
BLOCKS = 100


class Curves(NamedTuple):
    """Runs that were evaluated in the same way."""

    name: str
    mode: str
    values: list[np.ndarray]
    training: list[np.ndarray] | None = None  # the loss in training, where it is known


class Rule(NamedTuple):
    """A rule with its settings; one `of_errors` knows no mode but "min"."""

    build: Callable[[Any], octl.Controller]
    of_errors: bool = False


def _smoothed(rule: octl.Controller) -> octl.Controller:
    return octl.smooth(rule, monitor="val_loss", decay=0.8)


# One line for every setting of a rule.
RULES = {
    "patience(3)": Rule(lambda mode: stop.patience(3, mode=mode)),
    "patience(5)": Rule(lambda mode: stop.patience(5, mode=mode)),
    "patience(10)": Rule(lambda mode: stop.patience(10, mode=mode)),
    "patience(20)": Rule(lambda mode: stop.patience(20, mode=mode)),
    "patience(5), smoothed": Rule(lambda mode: _smoothed(stop.patience(5, mode=mode))),
    "small_gain(3, 1 %)": Rule(lambda mode: stop.small_gain(3, mode=mode, rtol=0.01)),
    "convergence(5, 1 %)": Rule(lambda _: stop.convergence(5, rtol=0.01)),
    "convergence(10, 0.1 %)": Rule(lambda _: stop.convergence(10, rtol=0.001)),
    "convergence(10, 1 %)": Rule(lambda _: stop.convergence(10, rtol=0.01)),
    "overfitting(5, 10 %)": Rule(lambda _: stop.overfitting(5, rtol=0.1), True),
    "overfitting(5, 20 %)": Rule(lambda _: stop.overfitting(5, rtol=0.2), True),
    "overfitting(5, 50 %)": Rule(lambda _: stop.overfitting(5, rtol=0.5), True),
    "GL(2)": Rule(lambda _: stop.generalization_loss(2.0), True),
    "GL(5)": Rule(lambda _: stop.generalization_loss(5.0), True),
    "GL(20)": Rule(lambda _: stop.generalization_loss(20.0), True),
    "PQ(0.5)": Rule(lambda _: stop.progress_quotient(0.5), True),
    "PQ(1)": Rule(lambda _: stop.progress_quotient(1.0), True),
    "PQ(2)": Rule(lambda _: stop.progress_quotient(2.0), True),
    "UP(2)": Rule(lambda mode: stop.successive_rises(2, mode=mode)),
    "UP(3)": Rule(lambda mode: stop.successive_rises(3, mode=mode)),
    "UP(4)": Rule(lambda mode: stop.successive_rises(4, mode=mode)),
    "trend(10)": Rule(lambda mode: stop.trend(10, mode=mode)),
    "trend(20)": Rule(lambda mode: stop.trend(20, mode=mode)),
    "trend(20, p=0.05)": Rule(lambda mode: stop.trend(20, p_value=0.05, mode=mode)),
    "trend(20, p=0.8)": Rule(lambda mode: stop.trend(20, p_value=0.8, mode=mode)),
    "extrapolation(10)": Rule(lambda mode: stop.extrapolation(10, mode=mode)),
    "extrapolation(20)": Rule(lambda mode: stop.extrapolation(20, mode=mode)),
    "extrapolation(20, 10)": Rule(lambda mode: stop.extrapolation(20, 10, mode=mode)),
}


def rows(directory: Path = DIRECTORY) -> list[dict[str, Any]]:
    """Returns a row for every rule on all the curves in `directory`; none without."""
    sets = recorded(directory)
    if not sets:
        progress(f"skipped: no recorded curves in {directory}; name them: --curves")
        return []
    # In one shape, so that a rule is compiled once for each mode.
    runs = max(len(curves.values) for curves in sets)
    steps = max(len(x) for curves in sets for x in curves.values)
    found = []
    for name, rule in RULES.items():
        progress(name)
        replays = {mode: _replayed(rule.build(mode)) for mode in ("min", "max")}
        for curves in sets:
            trained = curves.training is not None
            if "loss" in rule.build("min").signals and not trained:
                continue
            if rule.of_errors and curves.mode == "max":
                continue
            series = {"val_loss": _padded(curves.values, runs, steps)}
            if curves.training is not None:
                series["loss"] = _padded(curves.training, runs, steps)
            up = np.asarray(replays[curves.mode](series))
            found.append({"curves": curves.name, "rule": name, **judged(curves, up)})
    return sorted(found, key=lambda row: row["curves"])


def judged(curves: Curves, up: np.ndarray) -> dict[str, Any]:
    """Compares where a rule is up, by run and evaluation, with the oracle."""
    sign = 1 if curves.mode == "min" else -1
    verdicts = []
    for x, flags in zip(curves.values, up, strict=False):
        errors = np.where(np.isfinite(x), sign * x, np.inf)
        best, last = int(errors.argmin()), len(x) - 1
        first = errors[np.isfinite(errors).argmax()]
        stopped = flags[: len(x)].any()
        end = int(flags.argmax()) if stopped else last
        gain, missed = first - errors[best], errors[: end + 1].min() - errors[best]
        share = min(missed / gain, 1.0) if gain > 0 else 0.0
        verdicts.append((stopped, end >= best, share, (last - end) / len(x)))
    stopped, agreed, regret, saving = np.array(verdicts, float).T
    return {
        "runs": len(curves.values),
        "stopped": round(float(stopped.mean()), 3),
        "agreement": round(float(agreed.mean()), 3),
        "regret": round(float(regret.mean()), 4),
        "regret of the worst tenth": round(float(np.quantile(regret, 0.9)), 4),
        "saving": round(float(saving.mean()), 3),
    }


def recorded(directory: Path) -> list[Curves]:
    """Returns the sets of curves that are there, of runs with a finite value."""
    sets = []
    for file, read in READERS.items():
        if (directory / file).exists():
            sets += read(directory / file)
    return sets


def _deepobs(path: Path) -> Iterator[Curves]:
    runs = _by_run(path, "train_loss", "test_loss", "test_acc")
    losses = [run for run in runs if np.isfinite(run[:, 1]).any()]
    values, training = [run[:, 1] for run in losses], [run[:, 0] for run in losses]
    yield Curves("DeepOBS test loss", "min", values, training)
    scores = [run[:, 2] for run in runs if np.isfinite(run[:, 2]).any()]
    yield Curves("DeepOBS test accuracy", "max", scores)


def _algoperf(path: Path) -> Iterator[Curves]:
    values = [_blocks(run[:, 0]) for run in _by_run(path, "loss")]
    yield Curves("AlgoPerf training loss", "min", values)


def _returns(path: Path) -> Iterator[Curves]:
    values = [_blocks(run[:, 0]) for run in _by_run(path, "return")]
    yield Curves("RL Zoo return", "max", values)


READERS: dict[str, Callable[[Path], Iterator[Curves]]] = {
    "deepobs_epoch_curves.csv.gz": _deepobs,
    "algoperf_loss_gradnorm.csv.gz": _algoperf,
    "sb3_zoo_episode_returns.csv.gz": _returns,
}


def _by_run(path: Path, *columns: str) -> list[np.ndarray]:
    """Returns the columns of every run, shape (rows, columns), NaN where empty."""
    runs = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            runs[row["run"]].append([float(row[name] or "nan") for name in columns])
    return [np.array(run) for run in runs.values()]


def _blocks(x: np.ndarray) -> np.ndarray:
    """Means of at least BLOCKS equal blocks; what is left over at the end is not used.

    A value that is not finite breaks its block, as it breaks an evaluation.
    """
    size = max(len(x) // BLOCKS, 1)
    return x[: len(x) // size * size].reshape(-1, size).mean(1)


def _padded(series: Sequence[np.ndarray], runs: int, steps: int) -> np.ndarray:
    whole = np.full((runs, steps), np.nan, np.float32)
    for i, x in enumerate(series):
        whole[i, : len(x)] = x
    return whole


def _replayed(rule: octl.Controller) -> Callable[[Any], Any]:
    run = lambda series: octl.replay(rule, series).decisions.stop != 0
    return jax.jit(jax.vmap(run))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench._curves")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--curves", type=Path, default=DIRECTORY, metavar="DIR")
    options = parser.parse_args()
    report = Report("curves")
    report.table("rules of stopping", rows(options.curves))
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
