"""`optaxctl doctor`: what a run would find here, and what is broken."""

import importlib
import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import typer

from optaxctl.cli import _screen
from optaxctl.cli._exit import FAILED
from optaxctl.cli._options import HOME
from optaxctl.host import _database, _schema
from optaxctl.host._format import count
from optaxctl.host._spill import spilled
from optaxctl.host.config._sections import KEYS, PREFIX
from optaxctl.host.runs import Project

_NEEDED = ("jax", "jaxlib", "optax", "jaxtyping")
# What each extra brings: the module, and the package that has it.
_EXTRAS = {
    "flax": {"flax": "flax"},
    "orbax": {"orbax.checkpoint": "orbax-checkpoint"},
    "cli": {"pydantic": "pydantic", "yaml": "PyYAML"},
    "plot": {"matplotlib": "matplotlib"},
    "tensorboard": {"tensorboardX": "tensorboardX"},
    "demo": {"sklearn": "scikit-learn"},
}
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.gcsfuse", "fuse.sshfs", "gpfs"),
    *("lustre", "nfs", "nfs4", "smb3", "smbfs"),
}
_MIB, _GIB = 2**20, 2**30
_LOW = _GIB  # bytes free, below which it is worth a word


class Check(NamedTuple):
    """What was looked at, how it is, and in words.

    Attributes:
      check: What.
      state: "ok", "note" where something is to be known, or "broken".
      words: What was found, and what to do.
    """

    check: str
    state: str
    words: str


def doctor(directory: Path, *, as_json: bool) -> None:
    """Prints every check; the exit status is 1 if something is broken."""
    found = [
        *_versions(),
        *_extras(),
        *_jax(),
        *_variables(),
        *_files(directory),
        *_spilled(directory),
    ]
    broken = sum(check.state == "broken" for check in found)
    if as_json:
        _screen.as_json(ok=not broken, checks=[check._asdict() for check in found])
    else:
        _screen.table(("check", "state", "found"), found)
        notes = sum(check.state == "note" for check in found)
        told = f"{count(broken, 'thing')} broken" if broken else "Nothing is broken"
        _screen.say(f"{told}, {count(notes, 'note')}.")
    if broken:
        raise typer.Exit(FAILED)


def _versions() -> Iterator[Check]:
    yield Check("python", "ok", f"{platform.python_version()}, {platform.platform()}")
    for package in _NEEDED:
        number = _version(package)
        missing = f"not installed: pip install {package}"
        yield Check(package, "ok" if number else "broken", number or missing)


def _extras() -> Iterator[Check]:
    for extra, modules in _EXTRAS.items():
        there = {n: p for n, p in modules.items() if find_spec(n.partition(".")[0])}
        words = ", ".join(f"{p} {_version(p) or '?'}" for p in there.values())
        if len(there) < len(modules):
            words = f'not installed: pip install "optaxctl[{extra}]"'
        state = "ok" if len(there) == len(modules) else "note"
        yield Check(f"extra {extra}", state, words)


def _jax() -> Iterator[Check]:
    try:
        jax = importlib.import_module("jax")
        devices = jax.devices()
    except Exception as error:
        yield Check("devices", "broken", f"{type(error).__name__}: {error}")
        return
    first = devices[0]
    kind = first.device_kind
    words = f"{len(devices)} x {first.platform}"
    words += f", {kind}" if kind != first.platform else ""
    unseen = first.platform == "cpu" and [*Path("/dev").glob("nvidia[0-9]*")]
    if unseen:
        words += '. There is an NVIDIA GPU that jax does not see: see "jax[cuda13]"'
    yield Check("devices", "note" if unseen else "ok", words)
    traps = {
        "jax_enable_x64": "Parameters can be float64; control stays in float32",
        "jax_disable_jit": "Nothing is compiled, so every step is slow",
        "jax_debug_nans": "A NaN raises before the guard can refuse its step",
        "jax_debug_infs": "An infinity raises before the guard can refuse its step",
    }
    on = {name: text for name, text in traps.items() if getattr(jax.config, name)}
    for name, meaning in on.items():
        yield Check(name, "note", f"on. {meaning}.")
    if not on:
        yield Check("jax settings", "ok", f"{', '.join(traps)} are off")


def _variables() -> Iterator[Check]:
    for name in sorted(os.environ):
        key = name.removeprefix(PREFIX).lower().partition("__")[0]
        if not name.startswith(PREFIX) or name == HOME:
            continue
        if key in KEYS:
            words = "goes over every configuration that is read."
            yield Check(f"${name}", "note", words)
        else:
            words = "leads to no key, so no configuration can be read."
            yield Check(f"${name}", "broken", words)


def _files(directory: Path) -> Iterator[Check]:
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    path = directory / _database.FILE
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        yield Check(
            "directory", "broken", f"{place} cannot be written: {error.strerror}"
        )
    else:
        words = f"{directory}, {free / _GIB:,.1f} GiB free"
        yield Check("directory", "ok" if free >= _LOW else "note", words)
    if (kind := _file_system(place)) in _NETWORK:
        words = (
            f"{kind}, a network. SQLite's log is not made for it: record on a local "
            "disk, with a sink `octl.history.jsonl` on the network."
        )
        yield Check("file system", "note", words)
    if not path.exists():
        yield Check("database", "ok", f"there is no {path}; the first run makes it")
        return
    yield _database_at(path)


def _database_at(path: Path) -> Check:
    try:
        runs = Project(path.parent).runs()
        with _database.reading(path) as db:
            _database.check(db)
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_schema.BUSY)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.rollback()
    except (sqlite3.Error, OSError, ValueError) as error:
        if "locked" in str(error):
            words = f"{path}: another process writes to it at this moment"
            return Check("database", "note", words)
        words = f"{path}: {error}. Training goes on and spills; move the file away."
        return Check("database", "broken", words)
    log = path.with_name(f"{path.name}-wal")
    sizes = [p.stat().st_size if p.exists() else 0 for p in (path, log)]
    words = (
        f"{path}, {count(len(runs), 'run')}, {sizes[0] / _MIB:,.1f} MiB, "
        f"log {sizes[1] / _MIB:,.1f} MiB"
    )
    lost = sum(run.status == "lost" for run in runs)
    words += f". The process of {count(lost, 'run')} is gone" if lost else ""
    return Check("database", "note" if lost else "ok", words)


def _spilled(directory: Path) -> Iterator[Check]:
    for path in spilled(directory):
        words = f"{path}: the next run that is recorded here takes it in"
        yield Check("spill file", "note", words)


def _file_system(place: Path) -> str:
    """Returns the kind of the file system, where Linux tells it."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    fields = [mount.split()[1:3] for mount in mounts]
    above = [(len(at), kind) for at, kind in fields if place.is_relative_to(at)]
    return max(above, default=(0, ""))[1]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
