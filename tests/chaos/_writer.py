"""Records a run, and says which steps are acknowledged: `-m tests.chaos._writer`."""

import argparse
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import optaxctl as octl
from optaxctl.views._state import write
from tests.host._rows import row

W = jnp.ones(2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos._writer")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--name", default="run")
    parser.add_argument("--resume", default=None)
    parser.add_argument("--start", type=int, default=0, help="steps done already")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--flush-every", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=0, help="to wait in a step")
    parser.add_argument("--ring", type=int, default=0, help="rows that a state keeps")
    options = parser.parse_args()
    warnings.simplefilter("always")
    # What `step` and `accepted` say is what readers check.
    if options.ring:
        tx = octl.control(optax.sgd(0.1), octl.guard(), rows=options.ring)
        began = {"step": options.start, "accepted": options.start}
        now = write(tx.init(W), lambda layout: began)
        step = jax.jit(lambda state: tx.update(W, state, W, value=1.0)[1])
    else:
        step = jax.jit(lambda row: row._replace(words=row.words.at[:2].add(1)))
        now = row(options.start)
    history = octl.history.History(
        options.directory, name=options.name, resume=options.resume
    )
    with history:
        say(f"key {history.key}")
        for n in range(options.start + 1, options.steps + 1):
            now = step(now)
            flushes = n % options.flush_every == 0
            if not options.ring:
                history.write(now)
            elif n % options.ring == 0 or flushes or n == options.steps:
                history.write(octl.rows(now))
            time.sleep(options.seconds)
            if flushes:
                say(f"{'kept' if history.flush() else 'held'} {n}")
    say("done")
    return 0


def say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    sys.exit(main())
