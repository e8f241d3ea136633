"""One of several processes that train together, sharded over all their devices.

`python -m tests.scale._training PORT PROCESSES ID TASK ...` prints a JSON object last.
"""

import argparse
import functools
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

import optaxctl as octl
from optaxctl.host._by_name import Changes, held, joined, without

BATCHES = 8  # an epoch
ROWS = 16
BROKEN = {(0, 4): np.nan, **{(1, n): 1e3 for n in range(3, 7)}}
"""Factors of batches: the guard refuses one, the others lead to a rewind."""
HEARTBEAT = 10  # seconds after which a process that is gone is missed


@functools.cache
def control() -> octl.Control:
    controller = octl.together(
        guard=octl.guard(),
        clip=octl.clip.auto(),
        adaptive=octl.lr.adaptive(10_000, brake=0.9),
        back=octl.rollback(octl.lasting(2, octl.watch.spike(4.0))),
        stop=octl.stop.patience(10_000, monitor="steady"),
    )
    return octl.control(
        octl.inject(optax.adamw, learning_rate=0.02),
        controller,
        observed=("steady",),
        snapshots=octl.Snapshots(every=4),
    )


SPECS = {"hidden": P("data"), "out": P(), "scale": P("data")}


def mesh(devices: Any = None) -> Mesh:
    found = jax.devices() if devices is None else devices
    return jax.make_mesh((len(found),), ("data",), (AxisType.Auto,), devices=found)


def begin(over: Mesh) -> Any:
    """Returns parameters in shards, and the optimizer's state."""
    rng = np.random.default_rng(0)
    whole = {
        "hidden": rng.normal(size=(8, 16)).astype(np.float32),
        "out": rng.normal(size=(16, 1)).astype(np.float32),
        "scale": np.ones(16, np.float32),
    }
    place = lambda x, spec: jax.device_put(x, NamedSharding(over, spec))
    params = jax.tree.map(place, whole, SPECS)
    return params, control().init(params)


def loss_of(params: Any, x: Any) -> Any:
    hidden = jax.nn.relu(x @ params["hidden"]) * params["scale"][None]
    target = jnp.sin(jnp.sum(x, axis=1, keepdims=True))
    return jnp.mean((hidden @ params["out"] - target) ** 2)


def _step(carry: Any, x: Any) -> Any:
    params, state = carry
    loss, grads = jax.value_and_grad(loss_of)(params, x)
    return octl.apply_gradients(control(), grads, state, params, value=loss)


step: Any = jax.jit(_step)


def waited(carry: Any, x: Any) -> Any:
    # Collectives of CPU processes lock each other out where steps pile up.
    return jax.block_until_ready(step(carry, x))


def batches(over: Mesh, epoch: int) -> Iterator[Any]:
    """Yields the batches of an epoch, to which each process adds its own rows."""
    rng = np.random.default_rng(epoch)
    mine = ROWS // jax.process_count()
    start = mine * jax.process_index()
    for n in range(BATCHES):
        whole = rng.normal(size=(ROWS, 8)) * BROKEN.get((epoch, n), 1)
        rows = whole[start : start + mine].astype(np.float32)
        yield jax.make_array_from_process_local_data(
            NamedSharding(over, P("data")), rows
        )


def train(
    directory: Path,
    epochs: int,
    *,
    interrupt: octl.interrupt.Interrupt | None = None,
    history: octl.history.History | None = None,
    before: Callable[[int], None] = lambda batch: None,
) -> Any:
    """Trains, or goes on; calls `before` each batch with its number in this run."""
    over = mesh()
    count = iter(range(sys.maxsize))

    def counted(epoch: int) -> Iterator[Any]:
        for batch in batches(over, epoch):
            before(next(count))
            yield batch

    with octl.checkpoint.Checkpoints(directory) as checkpoints:
        *_, last = octl.loop.epochs(
            waited,
            begin(over),
            counted,
            evaluate=lambda carry: {
                "val_loss": loss_of(carry[0], next(batches(over, 10**6))),
                "steady": 1.0,
            },
            max_epochs=epochs,
            checkpoints=checkpoints,
            save_every=2,
            interrupt=interrupt,
            history=history,
        )
    return last


def digests(tree: Any) -> dict[str, str]:
    """Returns a digest of every whole array, by path; all processes must ask."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.asarray(leaf)
        whole = f"{array.dtype}{array.shape}".encode() + array.tobytes()
        found[jax.tree_util.keystr(path)] = hashlib.sha256(whole).hexdigest()
    return found


def save(directory: Path, carry: Any) -> None:
    with octl.checkpoint.Checkpoints(directory) as checkpoints:
        checkpoints.save(1, carry)


def restored(directory: Path, over: Mesh) -> Any:
    """Returns what was saved, sharded over a mesh."""
    with octl.checkpoint.Checkpoints(directory) as checkpoints:
        return checkpoints.restore(begin(over))[0]


def lanes_by_name() -> tuple[dict[str, str], dict[str, str]]:
    """Returns digests of a control state of a lane a device, and of its way by name."""
    tx = octl.control(optax.sgd(0.1), octl.stop.patience(3, monitor="loss"))
    over = mesh()
    place = lambda tree: jax.device_put(tree, NamedSharding(over, P("data")))
    params = jnp.arange(1.0, 2 * over.size + 1).reshape(over.size, 2)
    trained = lambda p: tx.update(p, tx.init(p), p, value=p[0])[1]
    fresh, state = (place(jax.vmap(f)(params)) for f in (tx.init, trained))
    names = held(state)
    way = joined(without(state, names), fresh, names, {}, Changes([], [], []))
    return digests(state), digests(way)


def told(last: Any) -> dict[str, Any]:
    """Returns how a run ended."""
    return {
        "reading": asdict(last.reading),
        "compiled": step._cache_size(),
        "carry": digests(last.carry),
        "best": digests(last.best_params),
    }


def written(directory: Path, fatal: int | None = None) -> list[str]:
    """Returns what will have been opened for writing, renamed or removed there.

    The `fatal`-th of these kills this process.
    """
    seen: list[str] = []

    def see(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        writes = event == "open" and set(str(arguments[1])) & set("wax+")
        if (changes or writes) and str(arguments[0]).startswith(str(directory)):
            seen.append(f"{event} {Path(str(arguments[0])).relative_to(directory)}")
            if len(seen) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)
    return seen


def interrupted_and_whole(directory: Path) -> dict[str, Any]:
    """Trains until process 1 is told to leave, and once as if it were not."""
    seen = written(directory)
    done, left = 0, "It has not left."

    def leave(batch: int) -> None:
        nonlocal done
        done = batch
        if batch == BATCHES + 3 and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with octl.interrupt.Interrupt() as interrupt:
        try:
            train(directory / "cut", 10**6, interrupt=interrupt, before=leave)
        except octl.interrupt.Interrupted as error:
            left = str(error)
    epochs = done // BATCHES + 2
    with octl.history.History(directory / "runs") as history:
        if history.key:
            octl.runs.Project(directory / "runs").run().ask(lr_scale=1.0)
            history.flush()
        commands = [command["what"] for command in history.commands()]
        last = train(directory / "whole", epochs, history=history)
    save(directory / "two", last.carry)
    return {
        "left": left,
        "epochs": epochs,
        "restored": digests(restored(directory / "two", mesh())),
        "lanes": lanes_by_name(),
        "written": seen,
        "commands": commands,
        **told(last),
    }


def gone_on(options: argparse.Namespace) -> dict[str, Any]:
    """Trains from the start, or from where it was cut; the victim may be killed."""
    victim = jax.process_index() == options.victim

    def die(batch: int) -> None:
        if victim and batch == options.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    seen = written(options.directory, options.die_at_event if victim else None)
    last = train(options.directory / "cut", options.epochs, before=die)
    return {"written": seen, **told(last)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale._training")
    parser.add_argument("port", type=int)
    parser.add_argument("processes", type=int)
    parser.add_argument("id", type=int)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--epochs", type=int, help="to go on to; or be interrupted")
    parser.add_argument("--victim", type=int, default=1)
    parser.add_argument("--die-at", type=int, help="the batch of this run")
    parser.add_argument("--die-at-event", type=int, help="of its file events, from 1")
    parser.add_argument("--from-one", action="store_true", help="read what one wrote")
    options = parser.parse_args()
    jax.distributed.initialize(
        f"127.0.0.1:{options.port}",
        options.processes,
        options.id,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=HEARTBEAT,
    )
    if options.from_one:
        carry = restored(options.directory / "one", mesh())
        print(json.dumps({"carry": digests(carry)}), flush=True)
    if options.epochs is None:
        report = interrupted_and_whole(options.directory)
        print(json.dumps(report), flush=True)
        raise octl.interrupt.Interrupted(report["left"])
    print(json.dumps(gone_on(options)), flush=True)


if __name__ == "__main__":
    main()
