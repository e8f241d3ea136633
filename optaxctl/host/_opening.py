"""What is known of a run when its history is opened."""

import platform
import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from optaxctl.host import _database, _spill
from optaxctl.host._recorded import identity, is_alive
from optaxctl.host.runs import Project, UnknownRun

PRESUMED = ("name", "started", "config", "summary")
PACKAGES = ("optaxctl", "jax", "jaxlib", "optax", "flax", "numpy")


def opened(
    directory: Path, name: str, config: Mapping[str, Any] | None, resume: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Returns all fields of a run, new or to go on with, and what the user should know.

    It merges what lies about. Where the database cannot be read, the first write says
    so, and a run to go on with is taken at its word: what is `presumed` of it is
    written only if the database turns out not to have the run.

    Raises:
      UnknownRun: If there is no run `resume`.
    """
    troubles = _spill.merge(directory, resume or "")
    known = _known(directory)
    now = time.time()
    new = {
        "key": resume or f"{_slug(name)}-{secrets.token_hex(2)}",
        "name": str(name),
        "status": "running",
        "started": now,
        "updated": now,
        "ended": None,
        "step": None,
        "reason": "",
        "config": dict(config or {}),
        "environment": environment(),
        "columns": [],
        "summary": {},
        # Of two processes that record a run the later one is right.
        "generation": int(1000 * now),
    }
    if resume is None:
        while new["key"] in (known or {}):
            new["key"] = f"{_slug(name)}-{secrets.token_hex(4)}"
        return new, troubles
    left = any(path.exists() for path in _spill.places(directory, resume))
    if known is None or (left and resume not in known):
        _require_whole(directory, resume)
        return {**new, "presumed": PRESUMED}, troubles
    if not known:
        raise UnknownRun(f"There is no run {resume!r}: {directory} has no runs yet.")
    key = Project(directory).run(resume).key
    if key != resume:
        troubles += _spill.merge(directory, key)
    old = (_known(directory) or known)[key]
    if pid := _records_still(old):
        troubles.append(
            f"Process {pid} still records {key}. What it records from now on is left "
            "out; end it, or give this training a `History` of its own."
        )
    goes_on = {n: new[n] for n in ("status", "ended", "reason", "environment")}
    goes_on["config"] = new["config"] or old["config"]
    goes_on["generation"] = max(new["generation"], old["generation"] + 1)
    return {**old, **goes_on}, troubles


def _known(directory: Path) -> dict[str, dict[str, Any]] | None:
    """Returns the runs by their keys; None where the database cannot be read."""
    path = directory / _database.FILE
    try:
        if not path.is_file():
            return {}
        with _database.reading(path) as db:
            runs = {run["key"]: run for run in _database.runs(db)}
            for key, run in runs.items():
                del run["id"]
                run["generation"] = _database.generation(db, key)
            return runs
    except (sqlite3.Error, OSError, ValueError):
        return None


def _require_whole(directory: Path, key: str) -> None:
    """Requires what can only be the whole key of a run."""
    if not re.fullmatch(r"[a-z0-9-]+-([0-9a-f]{4}|[0-9a-f]{8})", key):
        raise UnknownRun(
            f"There is no run {key!r} as far as can be told: "
            f"{directory / _database.FILE} cannot be read, so only the whole key of a "
            'run, such as "digits-0a3f", will do.'
        )


def _records_still(run: Mapping[str, Any]) -> int | None:
    """Returns the id of another process that records a run on this machine, if any."""
    there = run["environment"]
    here = identity()
    elsewhere = there.get("host") != here["host"] or there.get("pid") == here["pid"]
    if run["status"] != "running" or elsewhere or not is_alive(there):
        return None
    return there["pid"]


def environment() -> dict[str, Any]:
    """Returns versions, machine, devices and process."""
    versions = {name: _version(name) for name in PACKAGES}
    device = jax.devices()[0]
    return {
        **identity(),
        "python": platform.python_version(),
        **{name: number for name, number in versions.items() if number},
        "platform": platform.platform(),
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "command": sys.argv,
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")[:40] or "run"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
