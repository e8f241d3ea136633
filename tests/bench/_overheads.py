"""Costs beside the step itself: tracing, dispatch, vectorising, importing."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import optaxctl as octl
from tests.bench._models import Job
from tests.bench._optimizers import optimizers, signals, stepping
from tests.bench._programs import Program, Runner
from tests.bench._protocol import Timing, paired

SEEDS = 32


def second_traces(job: Job) -> int:
    """Steps, observes, sets the rate and steps again: one trace must serve all."""
    optimizer = optimizers()["I"]
    traces = 0

    def step(*args: Any) -> Any:
        nonlocal traces
        traces += 1
        return stepping(optimizer, job)(*args)

    step = jax.jit(step, donate_argnums=(0, 1))
    params = jax.tree.map(jnp.copy, job.params)
    state = optimizer.init(params)
    for i in range(6):
        params, state, _ = step(params, state, job.batch, signals())
        if i == 2:
            state = octl.set_lr(octl.observe(state, val_loss=0.5), 1e-4)
    return traces - 1


def dispatch(job: Job, rounds: int) -> float:
    """Microseconds that carrying the control state adds to a call that does nothing."""
    state = optimizers()["I"].init(job.params)

    def empty(carried: Any) -> Callable[[], None]:
        call = jax.jit(
            lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0
        )
        held = [call((jnp.zeros(()), *carried))]

        def run() -> None:
            for _ in range(2_000):
                held[0] = call(held[0])
            jax.block_until_ready(held[0])

        return run

    packed = jax.tree.map(jnp.zeros_like, (state.f32, state.i32))
    variants = {"without": empty(()), "with": empty(packed)}
    times = paired(variants, rounds=rounds, calls=2_000)
    return (times["with"].wall - times["without"].wall) * 1e6


def over_seeds(job: Job, rounds: int) -> dict[str, Timing]:
    """A whole step of many seeds at once, each with its own parameters and state."""
    runners = {}
    for name in ("bare", "nearest", "I", "C"):
        optimizer = optimizers()[name]
        params = jax.tree.map(lambda p: jnp.stack([p] * SEEDS), job.params)
        args = (params, jax.vmap(optimizer.init)(params), job.batch, signals())
        step = jax.vmap(stepping(optimizer, job), in_axes=(0, 0, None, None))
        program = Program(step, args, donate=True)
        program.compile()
        runners[name] = Runner(program, calls=2)
    renew = lambda name: runners[name].renew()
    return paired(runners, rounds=rounds, calls=2, prepare=renew)


def import_milliseconds(rounds: int) -> float:
    """Imports the pure part in new interpreters that have jax and optax already.

    Processor time, which for one thread is the wall time of an idle machine; without
    the collector, which may happen to walk through all of jax at this moment.
    """
    code = (
        "import gc, jax, optax, time; gc.disable(); start = time.process_time(); "
        "import optaxctl as o; o.control, o.inject, o.together, o.guard, o.observe; "
        "o.lr, o.clip, o.stop, o.watch, o.schedules, o.read, o.replay, o.as_schedule; "
        "print(time.process_time() - start)"
    )
    names = os.environ.keys() - {"PYTHONDONTWRITEBYTECODE"}  # as where it is installed
    settings = {name: os.environ[name] for name in names}
    command = [sys.executable, "-c", code]
    seconds = [
        float(
            subprocess.run(
                command, check=True, capture_output=True, env=settings
            ).stdout
        )
        for _ in range(rounds + 1)
    ]
    return statistics.median(seconds[1:]) * 1e3  # the first writes the bytecode
