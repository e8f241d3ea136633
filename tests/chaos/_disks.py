"""Damages what lies on the disk, or fills the disk, and lets the training go on."""

import itertools
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos._kills import Whole, checkpoints
from tests.chaos._process import End

STAGE = 4  # epochs before the damage; the checkpoints of the last two are there
PAGE = 4096  # bytes


def staged(run: Whole, at: Path) -> Path:
    """Trains the first epochs only."""
    end = run.training.run(at / "stage", "--epochs", str(STAGE))
    if not end.done:
        raise RuntimeError(f"The training fails by itself:\n{end.errors}")
    return at / "stage"


def damaged(stage: Path, at: Path, seed: int) -> Iterator[tuple[str, str, Path]]:
    """Yields a file of the newest checkpoint, what is wrong with it, and a run."""
    newest = _newest(stage)
    rng, numbers = random.Random(seed), itertools.count()
    yield "none", "nothing", shutil.copytree(stage, at / "damaged")
    for file in sorted(path for path in newest.rglob("*") if path.is_file()):
        content = file.read_bytes()
        # In a large file not every bit matters to how the run ends.
        flips = 4 if len(content) > PAGE else 1
        for kind in ("cut", *flips * ["flip"]):
            changed = bytearray(content)
            if kind == "cut":
                del changed[len(content) // 2 :]
            else:
                changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            run = shutil.copytree(stage, at / f"damaged-{next(numbers)}")
            (run / file.relative_to(stage)).write_bytes(changed)
            yield f"{file.relative_to(newest)}, {len(content)} B", kind, run


def after_damage(run: Whole, directory: Path) -> dict[str, Any]:
    """Goes on with a damaged run, and says in a word how that went.

    Damage to what nothing reads harms nothing. Else the checkpoint before it must be
    used, and a warning must name the step of the one that could not be.
    """
    step = _newest(directory).name
    end = run.training.run(directory)
    if not end.done:
        outcome = "error"
    elif run.differences(directory, end):
        outcome = "WRONG, unnoticed"
    elif end.report["resumed"] == STAGE:
        outcome = "unharmed"
    else:
        said = any(step in line for line in end.warnings)
        outcome = "fell back" if said else "fell back, unsaid"
    shutil.rmtree(directory)
    good = outcome in ("unharmed", "fell back")
    return {"outcome": outcome, "pass": good, "said": end.complaint[:120]}


def limited_file(run: Whole, at: Path) -> dict[str, Any]:
    """From some epoch on no file can grow large; later there is room again."""
    directory = at / "limited"
    end = run.training.run(directory, "--full-after", str(STAGE))
    return _after_full(run, directory, end)


def small_disk(run: Whole, stage: Path, at: Path) -> dict[str, Any] | None:
    """On a disk for two checkpoints and no third; None if none can be mounted."""
    sizes = [path.stat().st_size for path in (stage / "checkpoints").rglob("*")]
    pages = sum(-(-size // PAGE) for size in sizes)
    directory = at / "small"
    with _disk(directory / "checkpoints", int(1.25 * pages)) as resize:
        if resize is None:
            return None
        end = run.training.run(directory)
        resize(10 * pages)
        return _after_full(run, directory, end)


def _after_full(run: Whole, directory: Path, end: End) -> dict[str, Any]:
    """Whether it said where there was no room, and goes on once there is."""
    clear = end.done or str(directory) in end.complaint
    again = run.training.run(directory)
    readable = again.done and again.report["resumed"] > 1
    differences = run.differences(directory, again)
    return {
        "status": end.status,
        "clear": clear,
        "older readable": readable,
        "differs": ", ".join(differences),
        "pass": clear and readable and not differences,
        "said": end.complaint[:120],
    }


@contextmanager
def _disk(at: Path, pages: int) -> Iterator[Callable[[int], Any] | None]:
    """Mounts a disk in memory, and yields what resizes it."""
    at.mkdir(parents=True)
    size = lambda pages: f"size={PAGE * pages}"
    mount = ["mount", "-t", "tmpfs", "-o", size(pages), "tmpfs", str(at)]
    if (
        not shutil.which("mount")
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        yield None
        return
    try:
        yield lambda pages: subprocess.run(
            ["mount", "-o", f"remount,{size(pages)}", str(at)], check=True
        )
    finally:
        subprocess.run(["umount", str(at)], check=True)


def _newest(directory: Path) -> Path:
    return directory / "checkpoints" / max(checkpoints(directory), key=int)
