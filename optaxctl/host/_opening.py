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

from optaxctl.host import _database
from optaxctl.host._store import SPILL, identity, merge_spilled
from optaxctl.host.runs import Project

PACKAGES = ("optaxctl", "jax", "jaxlib", "optax", "flax", "numpy")


def opened(
    directory: Path, name: str, config: Mapping[str, Any] | None, resume: str | None
) -> dict[str, Any]:
    """Returns all fields of a run, new or to go on with; merges what lies about.

    Where the database cannot be read a run is taken at its word.

    Raises:
      UnknownRun: If there is no run `resume`.
    """
    new = {
        "key": resume or f"{_slug(name)}-{secrets.token_hex(2)}",
        "name": str(name),
        "status": "running",
        "started": time.time(),
        "updated": time.time(),
        "ended": None,
        "step": None,
        "reason": "",
        "config": dict(config or {}),
        "environment": environment(),
        "columns": [],
        "summary": {},
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        db = _database.connect(directory / _database.FILE)
        try:
            merge_spilled(db, sorted(directory.glob(f"*{SPILL}")), resume or "")
            known = {run["key"]: run for run in _database.runs(db)}
        finally:
            db.close()
    except (sqlite3.Error, OSError, ValueError):
        return new  # the first write says what is wrong
    if resume is None:
        while new["key"] in known:
            new["key"] = f"{_slug(name)}-{secrets.token_hex(4)}"
        return new
    old = known[Project(directory).run(resume).key]
    del old["id"]
    goes_on = {n: new[n] for n in ("status", "ended", "reason", "environment")}
    return {**old, **goes_on, "config": new["config"] or old["config"]}


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
