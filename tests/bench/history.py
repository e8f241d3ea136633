"""What it costs to record every step: `python -m tests.bench.history [--json]`.

The same training under the same control, recorded and not; the time until everything
is in the database counts. Beside that, how fast rows go in, and how fast people get
them out of a run of a million.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
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
from tests.bench._optimizers import Optimizer, keeping, optimizers, signals
from tests.bench._protocol import Report, Timing, paired, progress

BOUND = {"mlp": 1.08, "transformer": 1.01}
SCANNED = 1.0  # of the loop that is not recorded: a scan also saves its dispatch
CALLS = {"mlp": 400, "transformer": 2}
ROUNDS = {"mlp": 25, "transformer": 25}
CHUNK, CHUNKS = 100, 20
RING = 256
ROWS = 1_000_000
SIGNALS = signals()
BARE, AGAIN, RECORDED = "not recorded", "not recorded, again", "recorded"
RINGED = f"in a ring of {RING:,}"


class Training:
    """A job under control, in a Python loop or in scans, recorded or not.

    All variants train on in the same parameters and moments, since where buffers lie
    changes a time by 10 %; each has its own control state.
    """

    def __init__(self, job: Job, at: Path, *, chunk: int):
        self.job, self.chunk = job, chunk
        self.calls = CALLS[job.name] if chunk == 1 else CHUNKS
        self.histories = {
            how: octl.history.History(at, name=f"{job.name} {how}")
            for how in (RECORDED, RINGED)
        }
        optimizer = optimizers()["I"]
        params, state = jax.tree.map(jnp.copy, (job.params, optimizer.init(job.params)))
        self.params, self.inner, self.state = params, state.inner, {}
        self.compiled, self.bytes, self.leaves, self.spent = {}, {}, {}, {}
        compiled = {}
        for how in (BARE, AGAIN, RECORDED, RINGED):
            made = keeping(RING) if how == RINGED else optimizer
            self.state[how] = made.init(job.params)._replace(inner=None)
            program = BARE if how == AGAIN else how
            if program not in compiled:
                compiled[program] = self._compiled(made, how)
            self.compiled[how] = compiled[program]
            cost = compiled[program].cost_analysis()
            self.bytes[how] = cost["bytes accessed"]
            self.leaves[how] = len(jax.tree.leaves(self._carry(how)))
            self.spent[how] = []
            self(how)

    def __call__(self, how: str) -> None:
        step, history = self.compiled[how], self.histories.get(how)
        began = _seconds(history)
        carry = self._carry(how)
        for i in range(1, self.calls + 1):
            carry, out = step(carry, self.job.batch, SIGNALS)
            if history and how == RECORDED:
                history.write(out)
            elif history and (i == self.calls or i % (RING // self.chunk) == 0):
                history.write(octl.rows(carry[1]))
        jax.block_until_ready(carry)
        self.params, state = carry
        self.inner, self.state[how] = state.inner, state._replace(inner=None)
        if history:
            history.flush()
        self.spent[how].append(_seconds(history) - began)

    def _carry(self, how: str) -> Any:
        return self.params, self.state[how]._replace(inner=self.inner)

    def _compiled(self, optimizer: Optimizer, how: str) -> Any:
        def step(carry: Any, batch: Any, given: Any) -> Any:
            params, state = carry
            loss, grads = jax.value_and_grad(self.job.loss)(params, batch)
            given = {**given, "value": loss}
            params, state = optimizer.step(grads, state, params, given)
            return (params, state), octl.row(state) if how == RECORDED else loss

        def steps(carry: Any, batch: Any, given: Any) -> Any:
            one = lambda carry, _: step(carry, batch, given)
            return jax.lax.scan(one, carry, length=self.chunk)

        jitted = jax.jit(steps if self.chunk > 1 else step, donate_argnums=0)
        return jitted.lower(self._carry(how), self.job.batch, SIGNALS).compile()


def timed(
    job: Job, at: Path, rounds: int, *, chunk: int
) -> tuple[dict[str, Timing], list[dict[str, Any]]]:
    """Times it recorded and not, in turns; returns the times, and a table of all."""
    training = Training(job, at, chunk=chunk)
    variants = {how: partial(training, how) for how in training.compiled}
    steps = training.calls * chunk
    found = paired(variants, rounds=rounds, calls=steps)
    for history in training.histories.values():
        history.ended("finished")
    return found, [
        {
            "how": "loop" if chunk == 1 else f"scan of {chunk}",
            "what": how,
            "us a step": 1e6 * t.wall,
            "ratio": f"{t.ratio:.3f}",
            "q25": f"{t.low:.3f}",
            "q75": f"{t.high:.3f}",
            "cpu ratio": f"{t.cpu_ratio:.3f}",
            "thread, us a step": 1e6 * statistics.median(training.spent[how]) / steps,
            "leaves": training.leaves[how],
            "bytes accessed": f"{training.bytes[how]:.0f}",
        }
        for how, t in found.items()
    ]


def _seconds(history: octl.history.History | None) -> float:
    """Returns the processor time that the thread of a history has had."""
    if history is None:
        return 0.0
    name = f"history of {history.key}"
    (thread,) = (t.ident for t in threading.enumerate() if t.name == name)
    assert thread is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


def recording(report: Report, job: Job, at: Path, rounds: int | None) -> None:
    """What recording costs a step, in a loop and in scans."""
    table, loop = [], math.nan
    for chunk in (1, CHUNK) if job.name == "mlp" else (1,):
        how = "loop" if chunk == 1 else f"scan of {chunk}"
        progress(f"{job.name}: {how}")
        found, rows = timed(job, at / how, rounds or ROUNDS[job.name], chunk=chunk)
        table += rows
        if chunk == 1:
            loop = found[BARE].wall
            ratio, name = (
                found[RECORDED].ratio,
                f"{job.name}, {how}: {RECORDED} / {BARE}",
            )
            report.bound(name, round(ratio, 3), BOUND[job.name])
        else:
            ratio = found[RECORDED].wall / loop
            name = f"{job.name}, {how}: {RECORDED} / {BARE} in a loop"
            report.bound(name, round(ratio, 3), SCANNED)
    report.table(f"{job.name}: time of a step", table)


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

    code = "from optaxctl.cli import main; main()"
    command = [sys.executable, "-c", code, "runs", "--directory", str(at)]
    runs = lambda: subprocess.run(command, check=True, capture_output=True)
    times = {
        name: _median(f) for name, f in {"show": show, "optaxctl runs": runs}.items()
    }
    times["a series of a million"] = _median(series, 3)
    report.table("reading", [{"what": name, "seconds": t} for name, t in times.items()])
    report.bound("show, a million rows", times["show"], 0.3, "s")
    report.bound("`optaxctl runs`, end to end", times["optaxctl runs"], 0.25, "s")


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
