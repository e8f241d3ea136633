"""Whether the files of a checkpoint are as they were written."""

import json
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

NAME = "checksums.json"
SEALED = "optaxctl_checksums"
"""Marks, in Orbax's own metadata, a checkpoint that has checksums."""

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
        return [NAME] if _was_sealed(checkpoint) else []
    try:
        sealed = json.loads(file.read_text())
    except ValueError:
        return [NAME]
    found = _checksums(checkpoint)
    return sorted(name for name in sealed if sealed[name] != found.get(name))


class Search(NamedTuple):
    """The newest sound checkpoint, and newer ones that are damaged."""

    step: int | None
    broken: list[int]


def newest_sound(directory: Any, steps: list[int]) -> Search:
    """Returns the newest step whose files are as they were written.

    Newer ones are damaged, which is said in a warning each. Those that somebody has
    deleted meanwhile are passed over. Process 0 looks, and tells the others.

    Raises:
      ValueError: If all of them are damaged.
    """
    broken: dict[int, str] = {}
    sound = None
    for step in sorted(steps, reverse=True):
        names: list[str] | None = []
        if jax.process_index() == 0:
            place = directory / str(step)
            names = damaged(place) if place.exists() else None
        number = -1 if names is None else len(names)
        found = int(multihost_utils.broadcast_one_to_all(np.int32(number)))
        if found > 0:
            broken[step] = names[0] if names else "a file"
        elif found == 0:
            sound = step
            break
    if sound is None and broken:
        said = [
            f"`{file}` of step {step:,} is not as it was written"
            for step, file in broken.items()
        ]
        raise ValueError(f"{directory} holds no sound checkpoint: {', '.join(said)}.")
    for bad, name in broken.items():
        warnings.warn(
            f"The checkpoint of step {bad:,} in {directory} is damaged: `{name}` is "
            f"not as it was written. Step {sound:,} is restored instead; the next save "
            f"puts the damaged one aside, as {bad}.damaged.",
            stacklevel=4,
        )
    return Search(sound, list(broken))


def put_aside(directory: Any, steps: list[int]) -> None:
    """Takes damaged checkpoints out of the way, for people to look at."""
    if jax.process_index() == 0:
        for step in steps:
            aside, place = directory / f"{step}.damaged", directory / str(step)
            if aside.exists():
                aside.rmtree()
            if place.exists():
                place.rename(aside)
    multihost_utils.sync_global_devices("optaxctl: damage is put aside")


def _was_sealed(checkpoint: Any) -> bool:
    # A deletion that was cut off may have left anything.
    file = checkpoint / "_CHECKPOINT_METADATA"
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        return True
    return SEALED in (told.get("custom_metadata") or {})


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
