"""Starts processes that find each other, and says how each of them ended."""

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DEVICES = 2  # of each process
PATIENCE = 150  # seconds


@dataclass(frozen=True)
class End:
    """How a process ended."""

    status: int
    reports: list[dict[str, Any]]
    errors: str


def together(count: int, *options: Any, program: str = "_training") -> list[End]:
    """Runs `count` processes of a program in `tests.scale`, and kills those that hang.

    Args:
      count: Processes.
      *options: Arguments, after the port, the count and the number of the process.
      program: Which module.
    """
    command = [sys.executable, "-m", f"tests.scale.{program}", str(_free()), str(count)]
    flags = os.environ.get("XLA_FLAGS", "").split()
    flags = [flag for flag in flags if "device_count" not in flag]
    flags.append(f"--xla_force_host_platform_device_count={DEVICES}")
    environment = {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
    started = [
        subprocess.Popen(
            [*command, str(number), *map(str, options)],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    # By SIGKILL, as SIGTERM is but a preemption to them.
    watch = threading.Timer(PATIENCE, lambda: [process.kill() for process in started])
    watch.start()
    with ThreadPoolExecutor(count) as pool:
        told = list(pool.map(subprocess.Popen.communicate, started))
    watch.cancel()
    return [
        End(process.returncode, _reports(out), errors)
        for process, (out, errors) in zip(started, told, strict=True)
    ]


def _reports(out: str) -> list[dict[str, Any]]:
    return [json.loads(x) for x in out.splitlines() if x.startswith("{")]


def _free() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
