"""`optaxctl demo`: a controlled run on real data, told while it happens."""

import json
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from optaxctl.cli import _files, _screen
from optaxctl.host._extras import load

if TYPE_CHECKING:
    from optaxctl._core.types import Mode
    from optaxctl.host._epoch import Epoch

_SAVE_EVERY = 5  # epochs
_MODES: "dict[str, Mode]" = {"val_accuracy": "max", "test_accuracy": "max"}
_TELL_EVERY = 10  # epochs, where there is no terminal to draw a bar on


class DemoError(Exception):
    """The demo cannot run as asked; the message says what to do."""


def run(
    project: Path, *, epochs: int | None, seed: int | None, resume: bool
) -> dict[str, Any]:
    """Trains, with messages and a progress bar on stderr, and returns the summary.

    It records itself in the project; its checkpoints are in a directory of that.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    directory = project / "demo"
    with _files.told(directory):
        settings = _settings(directory, epochs=epochs, seed=seed, resume=resume)
    with console.status("Loading JAX, Flax and the digits."):
        for module in ("flax", "orbax.checkpoint", "sklearn"):
            load(module, extra="demo", who="`optaxctl demo`")
        from optaxctl.cli import _digits
        from optaxctl.frontends import nnx
        from optaxctl.host.checkpoint import Checkpoints
        from optaxctl.host.history import History
        from optaxctl.host.loop import epochs as train

        program = _digits.build(**settings)

    if not resume:
        with _files.told(directory):
            _start_over(directory, settings, console)
    where = "" if project == Path("runs") else f" --directory {project}"
    with (
        _continued(f"optaxctl demo --resume{where}"),
        Checkpoints(directory / "checkpoints") as checkpoints,
        History(project, name="demo", config=settings, modes=_MODES) as history,
    ):
        if resume:
            step = checkpoints.latest()
            begin = "the beginning" if step is None else f"step {step:,}"
            console.print(f"Resuming the run in {directory} from {begin}.")
        records = train(
            program.step,
            program.carry,
            program.batches,
            evaluate=program.evaluate,
            max_epochs=settings["epochs"],
            checkpoints=checkpoints,
            save_every=_SAVE_EVERY,
            pure=nnx.pure,
            restore=nnx.restore,
            history=history,
        )
        told = _told(records, console, settings["epochs"], program.corrupted)
        last = deque(told, maxlen=1).pop()
        accuracy = program.test_accuracy(last.best_params)
        history.evaluated(last.step, test_accuracy=accuracy)
    console.print(last.reason)
    console.print(f"Recorded as {history.key}; `optaxctl report{where}` draws it.")
    return _summary(last, accuracy)


@contextmanager
def _continued(command: str) -> Iterator[None]:
    """Says how to continue a run that is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        _screen.say(f"Interrupted; `{command}` continues the run.")
        raise


def _told(
    records: Iterator["Epoch"], console: Console, total: int, corrupted: int
) -> Iterator["Epoch"]:
    """Passes the records on and shows each as it comes."""
    bar = Progress(
        TextColumn("epoch {task.completed:>2}/{task.total}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[shown]}"),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=total, shown="compiling")
        refused = None
        for epoch in records:
            bar.update(task, completed=epoch.number, shown=_line(epoch))
            if not console.is_terminal and epoch.number % _TELL_EVERY == 0:
                console.print(str(epoch))
            if epoch.reading.refused and refused == 0:
                console.print(
                    f"The batch of step {corrupted} is corrupted, on purpose; the "
                    "guard refused it, and the run goes on."
                )
            refused = epoch.reading.refused
            yield epoch


def show(summary: dict[str, Any], *, as_json: bool) -> None:
    """Prints the summary on stdout."""
    if as_json:
        _screen.as_json(**summary)
        return
    low, high = summary["lr_range"]
    rows = {
        "steps": f"{summary['steps']:,} in {summary['epochs']} epochs",
        "stop reason": summary["stop_reason"],
        "best val_loss": "{val_loss:.4g} in epoch {epoch}".format(**summary["best"]),
        "refused steps": f"{summary['refused_steps']}",
        "clip rate": f"{summary['clip_rate']:.1f} %",
        "learning rate": f"{low:.3g} to {high:.3g}",
        "test accuracy": f"{summary['test_accuracy']:.1f} %",
    }
    _screen.sheet(None, rows.items())


def _summary(epoch: "Epoch", test_accuracy: float) -> dict[str, Any]:
    reading = epoch.reading
    return {
        "steps": epoch.step,
        "epochs": epoch.number,
        "stop_reason": epoch.reason,
        "best": {"val_loss": epoch.best, "epoch": epoch.number - epoch.since_best},
        "refused_steps": reading.refused,
        "clip_rate": round(100 * reading.clipped / reading.accepted, 2),
        "lr_range": list(epoch.lr_range or ()),
        "test_accuracy": round(test_accuracy, 2),
    }


def _line(epoch: "Epoch") -> str:
    gauges = epoch.reading.gauges
    return (
        f"lr {epoch.reading.learning_rate:.1e}  "
        f"val_loss {epoch.metrics['val_loss']:.4f}  "
        f"to beat {gauges['stop/to_beat']:.4f}  "
        f"patience {gauges['stop/patience_left']:>2}"
    )


def _settings(
    directory: Path, *, epochs: int | None, seed: int | None, resume: bool
) -> dict[str, int]:
    """Returns seed and epochs, of the run in the directory or of a new one."""
    found = _marker(directory)
    try:
        known = json.loads(found.read_text()) if found.exists() else None
    except ValueError as error:
        raise DemoError(
            f"{found} is damaged ({error}). Delete {directory}, and start a new run."
        ) from error
    if not resume:
        if known is None and directory.exists() and any(directory.iterdir()):
            raise DemoError(
                f"{directory} is not empty and holds no demo run. Give another "
                "--directory."
            )
        return {"seed": seed or 0, "epochs": epochs or 60}
    if known is None:
        raise DemoError(
            f"{directory} holds no demo run to resume. Start one without --resume."
        )
    for name, given in (("seed", seed), ("epochs", epochs)):
        if given is not None and given != known[name]:
            raise DemoError(
                f"The run in {directory} was started with --{name} {known[name]} and "
                f"can only go on with it. Leave --{name} out, or start a new run."
            )
    return known


def _start_over(directory: Path, settings: dict[str, int], console: Console) -> None:
    found = _marker(directory)
    if found.exists():
        console.print(f"Replacing the earlier run in {directory}.")
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    _files.replace(found, f"{json.dumps(settings)}\n".encode())


def _marker(directory: Path) -> Path:
    """Tells a demo run from a directory that is not ours to clear."""
    return directory / "demo.json"
