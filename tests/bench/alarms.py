"""What `watch.divergence` says of recorded losses: `python -m tests.bench.alarms`.

On the DeepOBS and GPT losses in `--curves DIR` (or in `$OPTAXCTL_CURVES`): how many
healthy runs raise an alarm, how many broken ones, and how many steps before their first
NaN, for the whole and for each of its three tests.
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

WATCHERS = {
    "divergence": octl.watch.divergence(),
    "nonfinite": octl.watch.nonfinite("loss"),
    "10 x the first": octl.watch.excess(10.0),
    "z > 4 in 5 of 5": octl.lasting(5, octl.watch.spike(4.0)),
    "z > 6 once": octl.watch.spike(6.0),
}
HEALTHY = ("deepobs good", "gpt")
FILES = {
    "runs": "deepobs_runs.csv.gz",
    "first": "deepobs_minibatch_first400.csv.gz",
    "late": "deepobs_late_divergence.csv.gz",
    "gpt": "modded_nanogpt_train_loss.csv.gz",
}


def recorded(directory: Path) -> dict[str, list[list[float]]] | None:
    """Returns the losses of the runs by kind."""
    paths = {name: directory / file for name, file in FILES.items()}
    if not all(path.exists() for path in paths.values()):
        return None
    labels = {row["run"]: row["label"] for row in csv.DictReader(_open(paths["runs"]))}
    kinds: dict[str, list[list[float]]] = defaultdict(list)
    for row in csv.DictReader(_open(paths["first"])):
        losses = [float(row[f"s{i}"] or "nan") for i in range(len(row) - 1)]
        kinds[f"deepobs {labels[row['run']]}"].append(losses)
    for _, _, _, *losses in list(csv.reader(_open(paths["late"])))[1:]:
        kinds["deepobs late"].append([float(x or "nan") for x in losses])
    gpt: dict[str, list[float]] = defaultdict(list)
    for row in csv.DictReader(_open(paths["gpt"])):
        gpt[row["run"]].append(float(row["train_loss"]))
    kinds["gpt"] = list(gpt.values())
    return kinds


def judge(watcher: octl.Controller, runs: list[list[float]]) -> dict[str, Any]:
    """How many runs raise an alarm, and how long before their first NaN."""
    length = max(map(len, runs))
    rows = np.array([[*run, *[run[-1]] * (length - len(run))] for run in runs])
    alarms = jax.vmap(lambda x: octl.replay(watcher, {"loss": x}).decisions.alarm)
    up = np.asarray(jax.jit(alarms)(rows.astype(np.float32))) != 0
    broken = [~np.isfinite(run) for run in runs]
    leads = [
        int(bad.argmax() - found.argmax())
        for bad, found in zip(broken, up, strict=True)
        if bad.any() and found.any()
    ]
    return {
        "runs": len(runs),
        "steps": sum(int(len(b) if not b.any() else b.argmax()) for b in broken),
        "with an alarm": int(up.any(1).sum()),
        "median lead": float(np.median(leads)) if leads else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.alarms")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    default = os.environ.get("OPTAXCTL_CURVES", "curves")
    parser.add_argument("--curves", type=Path, default=Path(default), metavar="DIR")
    options = parser.parse_args()
    report = Report("alarms")
    kinds = recorded(options.curves)
    if kinds is None:
        progress(
            f"skipped: no recorded losses in {options.curves}; name them: --curves"
        )
        return report.finish(as_json=options.json)
    for name, watcher in WATCHERS.items():
        progress(name)
        rows = {kind: judge(watcher, runs) for kind, runs in kinds.items()}
        report.table(name, [{"kind": kind, **row} for kind, row in rows.items()])
        if name == "divergence":
            false = sum(rows[kind]["with an alarm"] for kind in HEALTHY)
            late = rows["deepobs late"]
            missed = late["runs"] - late["with an alarm"]
            report.bound("healthy runs with an alarm", false, 0, "runs")
            report.bound("late divergences without one", missed, 0, "runs")
    return report.finish(as_json=options.json)


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
