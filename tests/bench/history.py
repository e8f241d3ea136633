"""What it costs to record every step: `python -m tests.bench.history [--json]`.

The same training under the same control, recorded and not; the time until everything
is in the database counts. Beside that, how fast rows go in, and how fast people get
them out of a run of a million.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxctl as octl
from optaxctl.host import _database
from optaxctl.host._database import Batch
from tests.bench._models import Job, mlp, transformer
from tests.bench._optimizers import Optimizer, optimizers, signals
from tests.bench._protocol import Report, Timing, paired, progress

BOUND = {"mlp": 1.08, "transformer": 1.01}
CALLS = {"mlp": 400, "transformer": 2}
ROUNDS = {"mlp": 31, "transformer": 15}
CHUNK = 100
ROWS = 1_000_000
SIGNALS = signals()


class Training:
    """A job under control, in a Python loop or in scans, recorded or not."""

    def __init__(self, job: Job, optimizer: Optimizer, at: Path, *, chunk: int):
        self.job, self.optimizer = job, optimizer
        self.calls = max(CALLS[job.name] // chunk, 1) if chunk > 1 else CALLS[job.name]
        self.chunk = chunk
        self.history = octl.history.History(at, name=job.name)
        self.compiled = {recorded: self._compiled(recorded) for recorded in (0, 1)}
        copies = lambda: jax.tree.map(
            jnp.copy, (job.params, optimizer.init(job.params))
        )
        self.carries = {recorded: copies() for recorded in (0, 1)}
        for recorded in (0, 1):
            self(recorded)

    def __call__(self, recorded: int) -> None:
        step, carry = self.compiled[recorded], self.carries[recorded]
        for _ in range(self.calls):
            carry, out = step(carry, self.job.batch, SIGNALS)
            if recorded:
                self.history.write(out)
        jax.block_until_ready(carry)
        self.carries[recorded] = carry
        if recorded:
            self.history.flush()

    def _compiled(self, recorded: int) -> Any:
        def step(carry: Any, batch: Any, given: Any) -> Any:
            params, state = carry
            loss, grads = jax.value_and_grad(self.job.loss)(params, batch)
            given = {**given, "value": loss}
            params, state = self.optimizer.step(grads, state, params, given)
            return (params, state), octl.row(state) if recorded else loss

        def steps(carry: Any, batch: Any, given: Any) -> Any:
            one = lambda carry, _: step(carry, batch, given)
            return jax.lax.scan(one, carry, length=self.chunk)

        return jax.jit(steps if self.chunk > 1 else step, donate_argnums=0)


def timed(job: Job, at: Path, rounds: int, *, chunk: int) -> dict[str, Timing]:
    """Times it recorded and not, in turns."""
    training = Training(job, optimizers()["I"], at, chunk=chunk)
    variants = {
        "not recorded": lambda: training(0),
        "recorded": lambda: training(1),
    }
    found = paired(variants, rounds=rounds, calls=training.calls * chunk)
    training.history.ended("finished")
    return found


def recording(report: Report, job: Job, at: Path, rounds: int | None) -> None:
    """What recording costs a step, in a loop and in scans."""
    rows = []
    chunks = (
        {"loop": 1, f"scan of {CHUNK}": CHUNK} if job.name == "mlp" else {"loop": 1}
    )
    for how, chunk in chunks.items():
        progress(f"{job.name}: {how}")
        found = timed(job, at / how, rounds or ROUNDS[job.name], chunk=chunk)
        rows += [
            {
                "how": how,
                "what": what,
                "us a step": 1e6 * t.wall,
                "ratio": t.ratio,
                "q25": t.low,
                "q75": t.high,
                "cpu ratio": t.cpu_ratio,
            }
            for what, t in found.items()
        ]
        bound = BOUND[job.name] if chunk == 1 else 1.00
        name = f"{job.name}, {how}: recorded / not recorded"
        report.bound(name, round(found["recorded"].ratio, 2), bound)
    report.table(f"{job.name}: time of a step", rows)


def written(report: Report, at: Path) -> None:
    """Rows into SQLite: through all of it, and by the database alone."""
    progress("rows into SQLite")
    tx = octl.control(octl.inject(optax.sgd, learning_rate=0.1), octl.guard())
    row = octl.row(tx.init(jnp.ones(2)))
    names, width = row.columns.names, len(row.columns.names)
    words = np.tile(np.asarray(row.words), (ROWS, 1))
    words[:, names.index("step")] = np.arange(1, ROWS + 1)
    words[:, names.index("loss")] = np.linspace(3, 1, ROWS, dtype="f4").view("i4")
    history = octl.history.History(at, name="million")
    began = time.perf_counter()
    for first in range(0, ROWS, 1000):
        part = jnp.asarray(words[first : first + 1000])
        history.write(octl.Row(row.columns, part))
    history.flush()
    whole = ROWS / (time.perf_counter() - began)
    for step in range(1000, ROWS + 1, 1000):
        history.evaluated(step, val_loss=1 / step)
    history.ended("finished")

    db = _database.connect(at / "alone.db")
    rows = [(i, 0.0, words[i].tobytes()) for i in range(100_000)]
    began = time.perf_counter()
    for i in range(0, len(rows), 256):
        _database.write(db, [Batch({"key": "a"}, None, rows[i : i + 256], [], [])])
    alone = len(rows) / (time.perf_counter() - began)
    db.close()
    size = (at / _database.FILE).stat().st_size / ROWS
    report.table(
        "rows into SQLite",
        [
            {"by": "History, in scans of 1,000", "rows a second": whole},
            {"by": "the database alone, 256 a transaction", "rows a second": alone},
            {"by": f"bytes a row of {width} columns", "rows a second": size},
        ],
    )


def read(report: Report, at: Path) -> None:
    """How long people wait, on a run of a million rows."""
    progress("reading")

    def show() -> None:
        run = octl.runs.Project(at).run("@latest")
        assert run.summary["steps"] == ROWS
        run.events("warning")
        run.evaluations()

    def series() -> None:
        steps, _ = octl.runs.Project(at).run().series("loss")
        assert len(steps) == ROWS

    code = "import sys, optaxctl as octl; print(octl.runs.Project(sys.argv[1]).runs())"
    process = [sys.executable, "-c", code, str(at)]
    runs = lambda: subprocess.run(process, check=True, capture_output=True)
    times = {name: _median(f) for name, f in {"show": show, "runs": runs}.items()}
    times["a series of a million"] = _median(series, 3)
    report.table("reading", [{"what": name, "seconds": t} for name, t in times.items()])
    report.bound("show, a million rows", times["show"], 0.3, "s")
    report.bound("runs, from the start of a process", times["runs"], 0.25, "s")


def _median(f: Callable[[], Any], rounds: int = 9) -> float:
    return paired({"it": f}, rounds=rounds)["it"].wall


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--only", choices=("mlp", "transformer", "database"))
    options = parser.parse_args()
    report = Report("history")
    with tempfile.TemporaryDirectory() as temporary:
        at = Path(temporary)
        for job in (mlp, transformer):
            if options.only in (None, job.__name__):
                recording(report, job(), at / job.__name__, options.rounds)
        if options.only in (None, "database"):
            written(report, at / "million")
            read(report, at / "million")
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
