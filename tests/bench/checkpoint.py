"""What a checkpoint costs: `python -m tests.bench.checkpoint [--json]`.

The same run, parameters and AdamW under `octl.supervise` and two controllers more, is
saved by `octl.checkpoint.Checkpoints` and by a plain `CheckpointManager` of Orbax,
which writes the control state as its two packed arrays. Blocking is the time until
`save` returns, complete the time until everything is on the disk.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import optax
import orbax.checkpoint as ocp

import optaxctl as octl
from tests.bench._models import Job, mlp, transformer
from tests.bench._protocol import Report, Timing, paired, progress

ROUNDS = 15


class Plain:
    """Orbax as its documentation uses it."""

    def __init__(self, directory: Path):
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "notes": ocp.JsonCheckpointHandler(),
        }
        self.manager = ocp.CheckpointManager(
            directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=ocp.checkpoint_managers.LatestN(2)
            ),
            item_handlers=handlers,
        )

    def save(self, step: int, tree: Any) -> None:
        args = {"state": ocp.args.StandardSave(tree), "notes": ocp.args.JsonSave({})}
        self.manager.save(step, args=ocp.args.Composite(**args))

    def restore(self, tree: Any) -> Any:
        args = {
            "state": ocp.args.StandardRestore(tree),
            "notes": ocp.args.JsonRestore(),
        }
        found = self.manager.restore(
            self.manager.latest_step(), args=ocp.args.Composite(**args)
        )
        return found["state"]

    def wait(self) -> None:
        self.manager.wait_until_finished()


class Ours(octl.checkpoint.Checkpoints):
    """Checkpoints, with what is timed under the same names."""

    def restored(self, tree: Any) -> Any:
        return self.restore(tree)[0]


def size(directory: Path) -> int:
    """Returns the bytes of the newest checkpoint."""
    newest = max(directory.iterdir(), key=lambda path: int(path.name))
    return sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())


def measure(report: Report, job: Job, at: Path, rounds: int) -> None:
    """Saves and restores one run in turns, here and there."""
    extra = octl.together(
        adaptive=octl.lr.adaptive(10_000), stop=octl.stop.patience(9, monitor="loss")
    )
    tx = octl.supervise(octl.inject(optax.adamw, learning_rate=1e-3), extra)
    tree = jax.block_until_ready((job.params, jax.jit(tx.init)(job.params)))
    plain, ours = Plain(at / "plain"), Ours(at / "ours")
    ours.__enter__()  # outside of a context a save waits until it is complete
    keepers = {"orbax": plain, "optaxctl": ours}
    steps = iter(range(1_000_000))

    def save(name: str) -> None:
        keepers[name].save(next(steps), tree)

    def settle(_: str) -> None:
        for keeper in keepers.values():
            keeper.wait()

    def whole(name: str) -> None:
        save(name)
        keepers[name].wait()

    for name in keepers:  # the first save makes directories and threads
        whole(name)
    rows = []
    restores = {"orbax": plain.restore, "optaxctl": ours.restored}
    programs = {
        "blocking": {name: (lambda n=name: save(n)) for name in keepers},
        "complete": {name: (lambda n=name: whole(n)) for name in keepers},
        "restore": {name: (lambda n=name: restores[n](tree)) for name in keepers},
    }
    ratios: dict[str, Timing] = {}
    for what, variants in programs.items():
        progress(f"{job.name}: {what}")
        timings = paired(variants, rounds=rounds, prepare=settle)
        settle("")
        ratios[what] = timings["optaxctl"]
        rows += [
            {
                "what": what,
                "by": name,
                "ms": 1e3 * t.wall,
                "ratio": t.ratio,
                "q25": t.low,
                "q75": t.high,
                "cpu ratio": t.cpu_ratio,
            }
            for name, t in timings.items()
        ]
    report.table(f"{job.name}: times", rows)
    sizes = {name: size(at / {"orbax": "plain"}.get(name, "ours")) for name in keepers}
    report.table(
        f"{job.name}: size",
        [{"by": name, "bytes": found} for name, found in sizes.items()],
    )
    report.bound(f"{job.name}: blocking time of a save", ratios["blocking"].ratio, 1.1)
    if job.name == "transformer":
        over = sizes["optaxctl"] / sizes["orbax"] - 1
        report.bound(f"{job.name}: size added", over, 0.01, "share")
    plain.manager.close()
    ours.__exit__()
    shutil.rmtree(at)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    report = Report("checkpoint")
    for job in (transformer(), mlp()):
        with tempfile.TemporaryDirectory() as temporary:
            measure(report, job, Path(temporary) / job.name, options.rounds)
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
