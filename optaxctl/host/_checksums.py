"""Whether the files of a checkpoint are as they were written."""

import json
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

NAME = "checksums.json"
CHUNK = 1 << 22  # bytes


def seal(checkpoint: Any) -> None:
    """Writes down the checksums of the files in a checkpoint.

    Args:
      checkpoint: A path whose items are complete and which is not yet known by its
        final name, so that there is never a checkpoint whose checksums are to come.
    """
    (checkpoint / NAME).write_text(json.dumps(_checksums(checkpoint)))


def damaged(checkpoint: Any) -> list[str]:
    """Returns the files that are not as they were written, or are missing.

    A checkpoint without checksums, as plain Orbax writes it, is taken as it is.
    """
    file = checkpoint / NAME
    if not file.exists():
        return []
    try:
        sealed = json.loads(file.read_text())
    except ValueError:
        return [NAME]
    found = _checksums(checkpoint)
    both = sorted({*sealed, *found})
    return [name for name in both if sealed.get(name) != found.get(name)]


def newest_sound(directory: Any, steps: list[int]) -> int:
    """Returns the newest step whose files are as they were written.

    Newer ones are put aside, as `STEP.damaged`, with a warning each. Process 0 looks,
    and tells the others.

    Raises:
      ValueError: If all of them are damaged.
    """
    broken: dict[int, str] = {}
    for step in sorted(steps, reverse=True):
        names = damaged(directory / str(step)) if jax.process_index() == 0 else []
        if not multihost_utils.broadcast_one_to_all(np.int32(len(names))):
            break
        broken[step] = names[0] if names else "a file"
    else:
        said = [
            f"`{f}` of step {s:,} is not as it was written" for s, f in broken.items()
        ]
        raise ValueError(f"{directory} holds no sound checkpoint: {', '.join(said)}.")
    for bad, name in broken.items():
        if jax.process_index() == 0:
            _put_aside(directory, bad)
        warnings.warn(
            f"The checkpoint of step {bad:,} in {directory} is damaged: `{name}` is "
            f"not as it was written. It is kept as {bad}.damaged, and step {step:,} "
            "is restored.",
            stacklevel=4,
        )
    if broken:
        multihost_utils.sync_global_devices("optaxctl: damaged checkpoints put aside")
    return step


def _put_aside(directory: Any, step: int) -> None:
    aside = directory / f"{step}.damaged"
    if aside.exists():
        aside.rmtree()
    (directory / str(step)).rename(aside)


def _checksums(checkpoint: Any) -> dict[str, str]:
    """Returns the checksums of all files but those beside the items, which change."""
    items = [path for path in checkpoint.iterdir() if path.is_dir()]
    files = [file for item in items for file in _files(item)]
    with ThreadPoolExecutor() as pool:
        sums = pool.map(_checksum, files)
        return {
            str(f.relative_to(checkpoint)): s for f, s in zip(files, sums, strict=True)
        }


def _files(directory: Any) -> Iterator[Any]:
    for path in directory.iterdir():
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _checksum(file: Any) -> str:
    # A CRC finds every flipped bit and is three times as fast as a SHA.
    crc = size = 0
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
    return f"{crc:08x} {size}"
