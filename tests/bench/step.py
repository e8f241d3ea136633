"""What control costs in a compiled step: `python -m tests.bench.step [--json]`.

Forms of the same control: I `control(inject(optax.adamw, ...), ...)`, C
`control(optax.adamw(...), ...)`, A `apply_gradients`. Beside them bare AdamW, Optax's
clip, and the nearest thing Optax offers.
"""

import argparse
import sys
from typing import Any

import jax
import jax.numpy as jnp

import optaxctl as octl
from tests.bench._models import Job, mlp, transformer
from tests.bench._optimizers import (
    Optimizer,
    optimizers,
    signals,
    stepping,
    updating,
    with_snapshots,
)
from tests.bench._overheads import (
    SEEDS,
    dispatch,
    import_milliseconds,
    over_seeds,
    second_traces,
)
from tests.bench._programs import Figures, Program, Runner
from tests.bench._protocol import Report, Timing, paired, progress

# The table: a bound for the transformer and one for the MLP.
UPDATE_WALL = {"I": (1.30, 1.50), "C": (1.80, 1.70), "A": (1.30, 1.50)}
UPDATE_BYTES = {"I": (1.11, 1.12), "C": (1.41, 1.42), "A": (1.11, 1.12)}
CALLS = {"update": (5, 100), "step": (1, 40)}
ROUNDS = {"update": (15, 60), "step": (9, 60), "compile": (3, 7)}


class Bench:
    """One job's rows of the report."""

    def __init__(self, report: Report, job: Job, rounds: int | None):
        self.report, self.job, self.rounds = report, job, rounds
        self.column = 1 if job.name == "mlp" else 0

    def run(self) -> None:
        self.update_alone()
        self.update_not_donated()
        self.whole_step()
        self.with_snapshots()
        self.leaves()
        self.refusals()

    def update_alone(self) -> None:
        programs = self.programs("update", tuple(optimizers()))
        figures = self.compile(programs)
        times = self.time("update", programs)
        self.tabulate("update and apply", figures, times)
        for form in UPDATE_WALL:
            self.bound(
                f"update, wall, {form} / bare", times[form].ratio, UPDATE_WALL[form]
            )
        for form in UPDATE_BYTES:
            ratio = figures[form].bytes_accessed / figures["bare"].bytes_accessed
            self.bound(f"update, bytes, {form} / bare", ratio, UPDATE_BYTES[form])
        nearest = times["I"].ratio / times["nearest"].ratio
        self.bound("update, wall, I / nearest", nearest, (0.45, 0.75))
        for form in ("I", "A"):
            self.copies("update", form, figures)

    def update_not_donated(self) -> None:
        programs = self.programs("update", ("bare", "I"), donate=False)
        figures = self.compile(programs)
        times = self.time("update", programs)
        self.tabulate("update and apply, not donated", figures, times)
        ratio = figures["I"].bytes_accessed / figures["bare"].bytes_accessed
        self.bound("update not donated, bytes, I / bare", ratio, (1.11, 1.12))

    def whole_step(self) -> None:
        programs = self.programs("step", ("bare", "nearest", "I", "A"))
        rounds = self.rounds or ROUNDS["compile"][self.column]
        progress(f"{self.job.name}: compile")
        compiling = paired({n: p.compile for n, p in programs.items()}, rounds=rounds)
        figures = {name: program.figures() for name, program in programs.items()}
        times = self.time("step", programs)
        self.tabulate("whole step", figures, times)
        self.tabulate("trace and compile the whole step", {}, compiling)
        i, bare = figures["I"], figures["bare"]
        self.bound("step, wall, I / bare", times["I"].ratio, (1.02, 1.15))
        self.bound(
            "step, bytes, I / bare",
            i.bytes_accessed / bare.bytes_accessed,
            (1.00, 1.00),
        )
        self.bound(
            "step, temporary memory, I / bare",
            i.temporary / bare.temporary,
            (1.01, 1.05),
        )
        self.copies("step", "I", figures)
        self.copies("step", "A", figures)
        self.bound("compile, I / bare", compiling["I"].ratio, (1.30, 1.50))
        effects = sum(programs[form].effects() for form in ("I", "A"))
        self.bound("effects and callbacks, I and A", effects, (0, 0), "count")

    def with_snapshots(self) -> None:
        """What it costs to be able to go back, in the steps that do not."""
        known = with_snapshots()
        for kind in ("update", "step"):
            programs = self.programs(kind, tuple(known), known=known)
            figures = self.compile(programs)
            times = self.time(kind, programs)
            what = "update and apply" if kind == "update" else "whole step"
            self.tabulate(f"{what}, with snapshots", figures, times)
        for form in ("I, applied", "A"):
            self.copies("with snapshots", form, figures)

    def leaves(self) -> None:
        bare, *forms = (
            len(jax.tree.leaves(optimizers()[name].init(self.job.params)))
            for name in ("bare", "I", "C", "A", "nearest")
        )
        rows = zip(("I", "C", "A", "nearest"), forms, strict=True)
        self.report.table(
            f"{self.job.name}: leaves added to the optimizer state",
            [{"optimizer": name, "leaves": n - bare} for name, n in rows],
        )
        self.bound("leaves added, I, C and A", max(forms[:3]) - bare, (3, 3), "count")

    def refusals(self) -> None:
        """A guard that refuses everything looks fast, and so does one that is off."""
        wrong = 0
        bad = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), self.job.params)
        for form in ("I", "C", "A"):
            optimizer = optimizers()[form]
            step = jax.jit(updating(optimizer))
            params, state = self.job.params, optimizer.init(self.job.params)
            for i in range(8):
                grads = bad if i in (2, 3, 6) else self.job.params
                params, state = step(params, state, grads, signals())
            reading = octl.read(state)
            wrong += abs(reading.refused - 3) + abs(reading.accepted - 5)
        self.bound("steps wrongly refused or accepted", wrong, (0, 0), "count")

    def programs(
        self,
        kind: str,
        names: tuple[str, ...],
        *,
        donate: bool = True,
        known: dict[str, Optimizer] | None = None,
    ) -> dict[str, Program]:
        job, known = self.job, known or optimizers()
        programs = {}
        for name in names:
            optimizer = known[name]
            update = kind == "update"
            fn = updating(optimizer) if update else stepping(optimizer, job)
            given = job.params if update else job.batch
            args = (job.params, optimizer.init(job.params), given, signals())
            programs[name] = Program(fn, args, donate=donate)
        return programs

    def compile(self, programs: dict[str, Program]) -> dict[str, Figures]:
        for program in programs.values():
            program.compile()
        return {name: program.figures() for name, program in programs.items()}

    def time(self, kind: str, programs: dict[str, Program]) -> dict[str, Timing]:
        progress(f"{self.job.name}: {kind}")
        calls = CALLS[kind][self.column]
        runners = {name: Runner(program, calls) for name, program in programs.items()}
        rounds = self.rounds or ROUNDS[kind][self.column]
        renew = lambda name: runners[name].renew()
        times = paired(runners, rounds=rounds, calls=calls, prepare=renew)
        for name in runners.keys() & {"I", "C", "A"}:
            refused = octl.read(runners[name].state).refused
            assert refused == 0, f"{name} refused {refused} healthy steps"
        return times

    def copies(self, kind: str, form: str, figures: dict[str, Figures]) -> None:
        added = figures[form].leaf_copies - figures["bare"].leaf_copies
        self.bound(f"{kind}, leaf copies added, {form}", max(added, 0), (0, 0), "count")

    def tabulate(
        self, name: str, figures: dict[str, Figures], times: dict[str, Timing]
    ) -> None:
        rows = []
        for variant, timing in times.items():
            row: dict[str, Any] = {"optimizer": variant, "ms": timing.wall * 1e3}
            row |= {"ratio": timing.ratio, "q25": timing.low, "q75": timing.high}
            row |= {"cpu ratio": timing.cpu_ratio}
            if variant in figures:
                one = figures[variant]
                base = figures["bare"].bytes_accessed
                row |= {
                    "MB": one.bytes_accessed / 1e6,
                    "MB ratio": one.bytes_accessed / base,
                }
                row |= {"temp MB": one.temporary / 1e6, "leaf copies": one.leaf_copies}
                row |= {"kernels": one.kernels}
            rows.append(row)
        self.report.table(f"{self.job.name}: {name}", rows)

    def bound(
        self, name: str, value: float, bounds: tuple[float, float], unit: str = "ratio"
    ) -> None:
        self.report.bound(f"{self.job.name}: {name}", value, bounds[self.column], unit)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.step")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, help="rounds of every timing")
    parser.add_argument("--only", choices=("mlp", "transformer"), help="one model")
    options = parser.parse_args()
    report, rounds = Report("step"), options.rounds
    jobs = [job() for job in (mlp, transformer) if options.only in (None, job.__name__)]
    for job in jobs:
        Bench(report, job, rounds).run()
    if options.only != "transformer":
        progress("mlp: traces, dispatch, seeds, import")
        small = jobs[0]
        report.bound("mlp: second traces", second_traces(small), 0, "count")
        report.bound("mlp: dispatch added", dispatch(small, rounds or 30), 5, "us")
        seeds = over_seeds(small, rounds or 15)
        Bench(report, small, rounds).tabulate(f"vmap over {SEEDS} seeds", {}, seeds)
        report.bound(f"mlp: vmap over {SEEDS} seeds, I / bare", seeds["I"].ratio, 1.20)
        report.bound("import optaxctl", import_milliseconds(rounds or 9), 50, "ms")
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
