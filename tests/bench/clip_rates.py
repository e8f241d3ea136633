"""How often each clipper clips: `python -m tests.bench.clip_rates [--curves DIR]`.

On the gradient norms of the AlgoPerf logs (`algoperf_loss_gradnorm.csv.gz` in DIR, or
in `$OPTAXCTL_CURVES`), a point every 100 steps in most runs: the share of steps that is
clipped in healthy runs, and the share of the jumps that is clipped in runs with one.
On noise around a level that rises for good: steps until it is no longer clipped.
"""

import argparse
import csv
import gzip
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

import optaxctl as octl
from tests.bench._protocol import Report, progress

CLIPPERS = {
    "auto": octl.clip.auto(),
    "zscore": octl.clip.zscore(),
    "quantile": octl.clip.quantile(),
    "quantile, all norms": octl.clip.quantile(window=None),
    "history": octl.clip.history(),
    "band": octl.clip.band(),
}
JUMP = 50.0  # times the median of the ten norms before
RISE_AT, AFTER, STREAMS = 300, 1000, 200
SPREAD = 0.15  # of the logarithm of the noise


def algoperf(directory: Path) -> dict[str, np.ndarray] | None:
    """Returns the norms of the runs by kind, padded with NaN at the end."""
    curves, runs = (
        directory / f"algoperf_{name}.csv.gz" for name in ("loss_gradnorm", "runs")
    )
    if not (curves.exists() and runs.exists()):
        return None
    norms: dict[str, list[float]] = defaultdict(list)
    for row in _rows(curves):
        norms[row["run"]].append(float(row["grad_norm"] or "nan"))
    kinds: dict[str, list[list[float]]] = defaultdict(list)
    for row in _rows(runs):
        kinds[row["kind"]].append(norms[row["run"]])
    return {kind: _padded(series) for kind, series in kinds.items()}


def limits(clipper: octl.Controller, norms: np.ndarray) -> np.ndarray:
    run = lambda x: octl.replay(clipper, {"grad_norm": x}).decisions.clip_norm
    return np.asarray(jax.jit(jax.vmap(run))(norms.astype(np.float32)))


def shares(clipper: octl.Controller, norms: np.ndarray) -> dict[str, float]:
    """The share of steps clipped in all runs, in the worst one, and in first steps."""
    clipped, there = norms > limits(clipper, norms), np.isfinite(norms)
    by_run = clipped.sum(1) / there.sum(1)
    return {
        "share": clipped.sum() / there.sum(),
        "worst run": by_run.max(),
        "first 10": clipped[:, 1:10].sum() / there[:, 1:10].sum(),
        "first 100": clipped[:, 1:100].sum() / there[:, 1:100].sum(),
    }


def jumps(clipper: octl.Controller, norms: np.ndarray) -> dict[str, float]:
    """Of the jumps: how many are clipped, and the median of limit / usual norm."""
    allowed = limits(clipper, norms)
    caught, height = [], []
    for norm, limit in zip(norms, allowed, strict=True):
        for t in range(10, norm.size):
            usual = np.median(norm[t - 10 : t])
            if norm[t] > JUMP * usual:
                caught.append(norm[t] > limit[t])
                height.append(min(norm[t], limit[t]) / usual)
    return {
        "jumps": len(caught),
        "clipped": float(np.mean(caught)),
        "left of it, times the usual": float(np.median(height)),
    }


def following(clipper: octl.Controller, times: float) -> float:
    """Median steps after a lasting rise until at most one step in ten is clipped."""
    rng = np.random.default_rng(0)
    norms = np.exp(SPREAD * rng.normal(size=(STREAMS, RISE_AT + AFTER)))
    norms[:, RISE_AT:] *= times
    clipped = (norms > limits(clipper, norms))[:, RISE_AT:]
    often = np.lib.stride_tricks.sliding_window_view(clipped, 10, axis=1).sum(2) > 1
    return float(np.median(np.where(often.all(1), AFTER, often.argmin(1))))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clip_rates")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    default = os.environ.get("OPTAXCTL_CURVES", "curves")
    parser.add_argument("--curves", type=Path, default=Path(default), metavar="DIR")
    options = parser.parse_args()
    report = Report("clip_rates")
    kinds = algoperf(options.curves)
    if kinds is None:
        progress(f"skipped: no AlgoPerf logs in {options.curves}; name them: --curves")
    else:
        progress(f"AlgoPerf: {sum(map(len, kinds.values()))} runs")
        rows = {name: shares(c, kinds["healthy"]) for name, c in CLIPPERS.items()}
        table = f"{len(kinds['healthy'])} healthy runs: share of steps clipped"
        report.table(table, [{"clipper": name, **row} for name, row in rows.items()])
        report.bound(
            "auto: healthy steps clipped", rows["auto"]["share"], 0.01, "share"
        )
        spiky = kinds.get("gradspike>50x")
        if spiky is not None:
            found = [{"clipper": n, **jumps(c, spiky)} for n, c in CLIPPERS.items()]
            report.table(f"{len(spiky)} runs with a jump of {JUMP:g} times", found)
    progress("noise around a level that rises")
    rises = {
        name: {f"{times}x": following(c, times) for times in (2, 10)}
        for name, c in CLIPPERS.items()
    }
    table = f"steps until a lasting rise is followed; {AFTER} is never"
    report.table(table, [{"clipper": name, **row} for name, row in rises.items()])
    report.bound("auto: steps to follow 2x", rises["auto"]["2x"], 30, "steps")
    report.bound("auto: steps to follow 10x", rises["auto"]["10x"], 50, "steps")
    return report.finish(as_json=options.json)


def _rows(path: Path) -> Any:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _padded(series: list[list[float]]) -> np.ndarray:
    padded = np.full((len(series), max(map(len, series))), np.nan)
    for row, values in zip(padded, series, strict=True):
        row[: len(values)] = values
    return padded


if __name__ == "__main__":
    sys.exit(main())
