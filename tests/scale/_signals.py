"""One process under `jax.distributed`, where two listen for SIGTERM."""

import itertools
import signal
import sys

import jax
from jax.experimental import multihost_utils

import optaxctl as octl

if __name__ == "__main__":
    port, processes, number = map(int, sys.argv[1:])
    jax.distributed.initialize(f"127.0.0.1:{port}", processes, number)
    tell = lambda: signal.raise_signal(signal.SIGTERM)
    with octl.interrupt.Interrupt() as interrupt:
        pass
    # JAX listens again: the signal does no harm, and is heard.
    tell()
    steps = itertools.count(1)
    while not multihost_utils.reached_preemption_sync_point(next(steps)):
        pass
    with octl.interrupt.Interrupt() as interrupt:
        assert not interrupt.reached(1)
        tell()
        assert interrupt.reached(2)
        assert interrupt.name == "SIGTERM"
        print("{}", flush=True)
        tell()
