"""The run that is killed: Flax linen on the digits, under full control.

`python -m tests.chaos._training DIRECTORY DIGITS` trains until it is done, or goes on
from what it finds in the directory. It is recorded in a history, and in a file of a
line an epoch, as a user would write it, exact however often the run is killed.
"""

import argparse
import atexit
import hashlib
import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import optaxctl as octl

EPOCHS = 14
BATCH = 64
STEPS = 12  # per epoch
LOOK = 5  # steps from one look of the loop to the next
BROKEN = {(1, 4): np.nan, **{(2, n): 1e3 for n in range(3, 10)}}
"""Factors of the images of a batch: the guard refuses one, the others lead to a rewind.
"""
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate")
FULL = 1 << 14  # bytes a file may have on a disk that is full


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x: Any, *, train: bool) -> Any:
        x = nn.relu(nn.Dense(32)(x))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Dense(10)(x)


class State(octl.linen.TrainState):
    key: Any  # of the dropout


def control(*, disk: bool = False) -> octl.Control:
    """Returns what trains; with `disk` it is the loop that goes back."""
    controller = octl.together(
        guard=octl.guard(),
        clip=octl.clip.auto(),
        adaptive=octl.lr.adaptive(EPOCHS * STEPS, brake=0.9),
        plateau=octl.lr.plateau(2, factor=0.5, monitor="val_loss"),
        recover=octl.rollback(octl.lasting(2, octl.watch.spike(4.0))),
        stop=octl.stop.patience(2, monitor="val_loss"),
    )
    return octl.control(
        octl.inject(optax.adamw, learning_rate=0.05),
        controller,
        observed=("val_loss",),
        snapshots=None if disk else octl.Snapshots(every=4),
    )


def start(*, disk: bool = False) -> State:
    """Returns the state before the first step."""
    model = Classifier()
    params = model.init(jax.random.key(0), np.zeros((1, 64), np.float32), train=False)
    return State.create(
        apply_fn=model.apply,
        params=params,
        tx=control(disk=disk),
        key=jax.random.key(1),
    )


def cross_entropy(logits: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@jax.jit
def step(state: State, batch: Any) -> State:
    images, labels = batch
    key, dropout = jax.random.split(state.key)

    def loss(params: Any) -> Any:
        logits = state.apply_fn(params, images, train=True, rngs={"dropout": dropout})
        return cross_entropy(logits, labels)

    value, grads = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=grads, value=value, key=key)


@jax.jit
def measure(state: State, images: Any, labels: Any) -> dict[str, Any]:
    logits = state.apply_fn(state.params, images, train=False)
    return {
        "val_loss": cross_entropy(logits, labels),
        "accuracy": (logits.argmax(-1) == labels).mean(),
    }


def row(epoch: Any) -> dict[str, Any]:
    """What is recorded of an epoch: all that does not depend on the clock."""
    told = epoch.reading
    return {
        "epoch": epoch.number,
        "step": epoch.step,
        **epoch.metrics,
        "best": epoch.best,
        "lr": told.learning_rate,
        "lr_range": epoch.lr_range,
        "refused": told.refused,
        "rewinds": told.rewinds,
        "rewind": epoch.rewind and [epoch.rewind.step, epoch.rewind.to],
        "clipped": told.clipped,
        "alarms": told.alarms_so_far,
        "gauges": told.gauges,
        "reason": epoch.reason,
    }


def cut(record: Path, epoch: int) -> None:
    """Takes the lines from this epoch on out of a record.

    A resumed run tells the epoch of its checkpoint again, and those after it. Lines of
    them, the last of which may be torn, were written by a process that was killed.
    """
    record.touch()
    kept = record.read_bytes().splitlines(keepends=True)[: epoch - 1]
    os.truncate(record, sum(map(len, kept)))


def train(
    begin: State,
    directory: Path,
    digits: Path,
    epochs: int,
    interrupt: octl.interrupt.Interrupt,
) -> Iterator[octl.loop.Epoch]:
    """Trains, and yields what the loop tells of every epoch, once that is in a file."""
    data = np.load(digits)
    images, labels = data["images"], data["labels"]
    x, y = images[: BATCH * STEPS], labels[: BATCH * STEPS]
    val = images[-400:], labels[-400:]

    def batches(epoch: int) -> Iterator[Any]:
        order = np.random.default_rng(epoch).permutation(len(x))
        for n, chosen in enumerate(order.reshape(STEPS, BATCH)):
            yield x[chosen] * np.float32(BROKEN.get((epoch, n), 1)), y[chosen]

    with (
        octl.checkpoint.Checkpoints(directory / "checkpoints", keep=2) as checkpoints,
        octl.history.History(directory / "runs", name="digits") as history,
    ):
        told = octl.loop.epochs(
            step,
            begin,
            batches,
            evaluate=lambda state: measure(state, *val),
            max_epochs=epochs,
            checkpoints=checkpoints,
            look_every=LOOK,
            interrupt=interrupt,
            history=history,
        )
        record = directory / "record.jsonl"
        for n, epoch in enumerate(told):
            if n == 0:
                cut(record, epoch.number)
            with record.open("a") as lines:
                lines.write(json.dumps(row(epoch)) + "\n")
            yield epoch


def digests(epoch: Any) -> dict[str, str]:
    """Returns a digest of every array of an epoch, by path."""
    tree = {"carry": epoch.carry, "best": epoch.best_params}
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    found = {}
    for path, leaf in flat:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        whole = f"{array.dtype}{array.shape}".encode() + array.tobytes()
        found[jax.tree_util.keystr(path)] = hashlib.sha256(whole).hexdigest()
    return found


def watched(directory: Path, fatal: int | None) -> Callable[[], int]:
    """Counts what this process does to files, and kills it at the `fatal`-th.

    Most of it is the saving of checkpoints, and where a save is cut in two matters.
    """
    count = itertools.count(1)
    last = 0

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal last
        if event in CHANGES or (
            event == "open" and str(arguments[0]).startswith(str(directory))
        ):
            last = next(count)
            if last == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)
    return lambda: last


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos._training")
    parser.add_argument("directory", type=Path)
    parser.add_argument("digits", type=Path, help="an .npz of images and labels")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--disk", action="store_true", help="rewind from checkpoints")
    parser.add_argument("--die-at", type=int, help="of its file events, counted from 1")
    parser.add_argument("--full-after", type=int, help="the epoch that fills the disk")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    events = watched(options.directory, options.die_at)
    with octl.interrupt.Interrupt() as interrupt:
        print("ready", flush=True)
        begin = start(disk=options.disk)
        run = begin, options.directory, options.digits, options.epochs, interrupt
        told = []
        for epoch in train(*run):
            told.append(epoch)
            if epoch.number == options.full_after:
                # Python ignores SIGXFSZ, so that writing more is an error, no death.
                resource.setrlimit(resource.RLIMIT_FSIZE, (FULL, FULL))
    if len(told) == 1:  # It was done, so it has saved nothing, which would tidy.
        with octl.checkpoint.Checkpoints(options.directory / "checkpoints") as left:
            left.tidy()
    # A run that is done tells its end again, as it lies on the disk.
    (again,) = train(*run)
    report = {
        "events": events(),
        "resumed": told[0].number,
        "memory": digests(told[-1]),
        "disk": digests(again),
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as error:
        # At the end, where it can be found among what threads say when they die.
        told = f"{type(error).__name__}: {error}"
        atexit.register(os.write, 2, f"failed: {told!r}\n".encode())
        raise
