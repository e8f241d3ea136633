"""What a schedule costs in a compiled step: `python -m tests.bench.schedules [--json]`.

Each is the example of the registry, as a function of one scalar step, beside Optax's
own with the same course where Optax has one.
"""

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxctl as octl
from tests.bench._protocol import Report, paired, progress
from tests.schedules._entry import Body, make
from tests.schedules.registry import REGISTRY

Schedule = Callable[[Any], Any]
Runner = Callable[[], Any]

# A handful: operations beyond those of the schedules that a schedule is made of.
OPERATIONS = 20
# Two curves, of which one is taken; a search in a table of growing cycles.
MORE = {"one_cycle": 32, "cosine_restarts": 32}
TABLES = {"multistep", "piecewise", "cosine_restarts", "multiplicative"}
# Written with other schedules, which its arguments do not show.
MADE_OF: dict[str, Schedule] = {
    "cosine_restarts": octl.schedules.cosine(15),
    "warmup_stable_decay": octl.schedules.warmup(octl.schedules.constant(), 10),
}

COSINE = optax.cosine_decay_schedule(1.0, 40)
LINE = optax.linear_schedule(1.0, 0.25, 40)
STAIRS = optax.exponential_decay(1.0, 25, 0.5, staircase=True)
CYCLES = ((1.0, 15), (0.75, 30), (0.5625, 60))
OPTAX: dict[str, Schedule] = {
    "constant": optax.constant_schedule(0.5),
    "linear": optax.linear_schedule(1.0, 0.0, 80),
    "polynomial": optax.polynomial_schedule(1.0, 0.0, 2.0, 80),
    "step": optax.exponential_decay(1.0, 20, 0.5, staircase=True),
    "multistep": optax.piecewise_constant_schedule(1.0, {20: 0.5, 60: 0.5, 80: 0.5}),
    "piecewise": optax.piecewise_constant_schedule(0.25, {20: 4.0, 60: 0.5, 80: 0.0}),
    "exponential": optax.exponential_decay(1.0, 40, 0.25),
    "cosine": optax.cosine_decay_schedule(1.0, 80),
    "cosine_restarts": optax.sgdr_schedule(
        [
            {"init_value": v, "peak_value": v, "warmup_steps": 0, "decay_steps": n}
            for v, n in CYCLES
        ]
    ),
    "one_cycle": optax.cosine_onecycle_schedule(100, 1.0),
    "join": optax.join_schedules([COSINE, LINE, STAIRS], [30, 60]),
    "times": lambda step: COSINE(step) * STAIRS(step),
    "warmup": optax.warmup_cosine_decay_schedule(0.0, 1.0, 20, 90),
}
ANOTHER = {"one_cycle"}  # Optax's peaks and ends a step later.

CALLS = {"in a loop": 10_000, "from Python": 200}
ROUNDS = 30

_INSTRUCTION = re.compile(r"^ +(?:ROOT )?%\S+ = (\(.*?\)|\S+) ([\w-]+)\(", re.MULTILINE)
# What only moves values about, or holds the instructions that are counted.
_NO_WORK = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy"}
_HOLDERS = {"fusion", "call", "while", "conditional"}


class Program(NamedTuple):
    """The optimised program of one scalar step."""

    operations: int  # HLO instructions that compute, fused ones too
    arrays: int  # values that are no scalar, tables too


def program(schedule: Schedule) -> Program:
    step = jax.ShapeDtypeStruct((), jnp.int32)
    text = jax.jit(schedule).lower(step).compile().as_text() or ""
    found = _INSTRUCTION.findall(text)
    work = [kind for _, kind in found if kind not in _NO_WORK | _HOLDERS]
    arrays = [shape for shape, _ in found if re.search(r"\[\d", shape)]
    return Program(len(work), len(arrays))


def parts(name: str) -> list[Schedule]:
    """Returns the schedules that a schedule is made of."""
    if name in MADE_OF:
        return [MADE_OF[name]]
    arguments = REGISTRY[name].arguments
    given = [*arguments.values(), *arguments.get("schedules", [])]
    return [body.schedule() for body in given if isinstance(body, Body)]


def in_a_loop(schedule: Schedule) -> Runner:
    """Asks at one step after another in one compiled program.

    The next step waits for the value, or else a processor would work out several at
    once, and they go round, so that no value becomes too small to be quick.
    """

    @jax.jit
    def many(calls: Any, never: Any) -> Any:  # both known to the caller alone
        ask = lambda _, step: (step + 1 + (schedule(step) == never)) & 127
        return jax.lax.fori_loop(0, calls, ask, jnp.int32(0))

    run = lambda: many(CALLS["in a loop"], -1.0).block_until_ready()
    run()
    return run


def from_python(schedule: Schedule) -> Runner:
    """Calls a compiled program for each step."""
    compiled = jax.jit(schedule)
    steps = [jnp.int32(step) for step in range(CALLS["from Python"])]
    run = lambda: jax.block_until_ready([compiled(step) for step in steps])
    run()
    return run


RUNNERS = {"in a loop": in_a_loop, "from Python": from_python}


def sizes(report: Report) -> None:
    """What is compiled, which is the same in every run with one version of jax."""
    progress("operations")
    rows = []
    for name, entry in REGISTRY.items():
        whole = program(make(name, entry.arguments))
        own = whole.operations - sum(program(s).operations for s in parts(name))
        row: dict[str, Any] = {"schedule": name, "operations": whole.operations}
        row |= {"of its own": own, "arrays": whole.arrays}
        if name in OPTAX:
            theirs = program(OPTAX[name])
            row |= {"Optax": theirs.operations, "Optax's arrays": theirs.arrays}
        rows.append(row)
        most = MORE.get(name, OPERATIONS)
        report.bound(f"{name}, operations of its own", own, most, "count")
    stray = sum(row["arrays"] for row in rows if row["schedule"] not in TABLES)
    report.bound("arrays of schedules without a table", stray, 0, "count")
    report.table("the optimised program of one scalar step", rows)


def times(report: Report, rounds: int, kind: str) -> None:
    """What is run, in pairs; the loop, or the call, costs both sides the same."""
    rows = []
    nothing = lambda step: jnp.asarray(step, jnp.float32)
    schedules = {name: make(name, e.arguments) for name, e in REGISTRY.items()}
    for name, ours in {"(nothing)": nothing, **schedules}.items():
        progress(f"{kind}: {name}")
        pair = {"Optax": OPTAX[name]} if name in OPTAX else {}
        runners = {n: RUNNERS[kind](s) for n, s in {**pair, "ours": ours}.items()}
        found = paired(runners, rounds=rounds, calls=CALLS[kind])
        row: dict[str, Any] = {"schedule": name, "ns": found["ours"].wall * 1e9}
        if pair:
            mine = found["ours"]
            row |= {"Optax": found["Optax"].wall * 1e9, "ratio": mine.ratio}
            row |= {"q25": mine.low, "q75": mine.high}
        rows.append(row)
    report.table(f"one value, {kind}", rows)


def check() -> None:
    """Refuses to compare two different courses."""
    for name in OPTAX.keys() - ANOTHER:
        ours = make(name, REGISTRY[name].arguments)
        for step in map(jnp.int32, range(100)):
            np.testing.assert_allclose(
                ours(step), OPTAX[name](step), atol=1e-6, err_msg=f"{name} at {step}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.schedules")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of every timing")
    options = parser.parse_args()
    report = Report("schedules")
    check()
    sizes(report)
    for kind in RUNNERS:
        times(report, options.rounds, kind)
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
