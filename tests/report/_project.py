"""Runs in a database as the history writes them, without training anything."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from optaxctl.host import _database
from optaxctl.host.runs import Project, Run

START = 1_770_000_000.0
HOSTILE = "<script>alert(1)</script>"


def event(step: int, kind: str, **fields: Any) -> dict[str, Any]:
    blank = dict.fromkeys(_database.EVENT)
    rest = {"actor": "rate", "severity": "info", "reason": "", "outcome": ""}
    return {**blank, **rest, "step": step, "time": START + step, "kind": kind, **fields}


def write(
    directory: pathlib.Path,
    columns: Mapping[str, Any],
    *,
    name: str = "digits",
    evaluations: Mapping[str, tuple[Any, Any]] | None = None,
    events: list[dict[str, Any]] | None = None,
    **fields: Any,
) -> Run:
    """Records a run with these columns, from step 1, and returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    table = {n: np.asarray(v, np.float32) for n, v in columns.items()}
    rows = np.stack(list(table.values()), axis=1).astype("<f4") if table else []
    steps = [(n, START + n, row.tobytes()) for n, row in enumerate(rows, 1)]
    checks = [
        (int(step), START, metric, float(value))
        for metric, (at, values) in (evaluations or {}).items()
        for step, value in zip(at, values, strict=True)
    ]
    db = _database.connect(directory / _database.FILE)
    try:
        taken = len(_database.runs(db))
        run = {
            "key": f"run-{taken:04d}",
            "name": name,
            "status": "finished",
            "started": START + taken,
            "updated": START + len(steps),
            "step": len(steps),
            "reason": "",
            "config": {},
            "environment": {},
            "columns": [[n, "f"] for n in table],
            "summary": {"steps": len(steps)},
            **fields,
        }
        batch = _database.Batch(run, None, steps, events or [], checks)
        _database.write(db, [batch])
    finally:
        db.close()
    return Project(directory).run(run["key"])


def training(
    directory: pathlib.Path, *, steps: int = 300, seed: int = 0, **fields: Any
) -> Run:
    """Records a run with a NaN that is refused, a plateau, a cut, and overfitting."""
    rng = np.random.default_rng(seed)
    step = np.arange(1, steps + 1)
    cut, broken = steps // 2, steps // 10
    loss = 2.3 * np.exp(-4 * step / steps) + 0.05
    loss *= np.exp(0.15 * rng.standard_normal(steps))
    norm = loss * np.exp(0.4 * rng.standard_normal(steps))
    loss[broken - 1] = norm[broken - 1] = np.nan
    scale = np.where(step < cut, 1.0, 0.5)
    rate = 3e-3 * np.minimum(step / (0.05 * steps), 1) * scale
    at = np.arange(steps // 15, steps + 1, steps // 15)
    val = 2.2 * np.exp(-5 * at / steps) + 0.3 + 0.25 * np.maximum(at / steps - 0.5, 0)
    best = int(np.argmin(val))
    columns = {
        "loss": loss,
        "grad_norm": norm,
        "learning_rate": rate,
        "lr_scale": scale,
        "clip_norm": np.where(
            step < 20, np.inf, 2.5 * (2.3 * np.exp(-4 * step / steps) + 0.05)
        ),
        "refused": step == broken,
        "knob/dropout": np.full(steps, 0.1),
        "gauge/stop/patience_left": np.maximum(0, 20 - step // 10),
    }
    reason = f"val_loss has not beaten {val[best]:.4g} for 5 checks"
    given: dict[str, Any] = {
        "status": "stopped",
        "reason": f"{reason}; stopping at step {steps:,}.",
        "evaluations": {"val_loss": (at, val), "val_accuracy": (at, 99 - 20 * val)},
        "events": [
            event(
                broken,
                "refused",
                actor="guard",
                severity="critical",
                reason="The loss is NaN or infinite.",
                evidence={"loss": float("nan")},
                outcome="The next step was accepted.",
            ),
            event(
                cut,
                "lr_scale",
                severity="warning",
                old=1.0,
                new=0.5,
                reason="val_loss has not improved for 4 checks.",
                evidence={"decision": "cut", "metrics": {"val_loss": 0.41}},
                outcome="val_loss improved at the next check.",
            ),
            event(
                steps,
                "stop",
                actor="stop",
                reason="The monitored signal stopped improving.",
            ),
        ],
        "config": {"optimizer": "adamw", "lr": {"peak": 3e-3, "factor": 0.5}},
        "environment": {"jax": "0.12.0", "host": "workstation", "pid": 4711},
        "summary": {
            "steps": steps,
            "accepted": steps - 1,
            "refused": 1,
            "rewinds": 0,
            "clipped": steps // 50,
            "best": {"val_loss": [float(val[best]), int(at[best])]},
            "last": {"loss": float(loss[-1])},
            "lr": [float(rate.min()), float(rate.max())],
            "seconds": 0.02 * steps,
            "seconds_per_step": 0.02,
            "epochs": [[n, 0.4 + 0.1 * (n == 3)] for n in range(1, 16)],
            "events": {"info": 1, "warning": 1, "critical": 1},
        },
    }
    return write(directory, columns, **{**given, **fields})
