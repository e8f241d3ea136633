"""Starts the training in processes of its own, and says how each of them ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class End:
    """How a process ended."""

    status: int
    seconds: float  # since it was ready
    report: dict[str, Any]  # empty unless it got through
    errors: str

    @property
    def killed(self) -> bool:
        """Whether a signal ended it; SIGTERM does where the training is over."""
        return self.status in (-signal.SIGKILL, -signal.SIGTERM)

    @property
    def left(self) -> bool:
        """Whether it went in good order when it was told to."""
        return self.status == 0 and not self.report

    @property
    def done(self) -> bool:
        return self.status == 0 and bool(self.report)

    @property
    def complaint(self) -> str:
        """What the exception said that ended it, if one did."""
        if self.status == 0:
            return "" if self.done else "it left without a report"
        said = [x for x in self.errors.splitlines() if x.startswith("failed: ")]
        return said[-1].removeprefix("failed: ") if said else f"status {self.status}"

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.errors.splitlines() if "Warning: " in line]


@dataclass(frozen=True)
class Training:
    """The training of `_training.py`, on one data file, by one compilation cache."""

    digits: Path
    cache: Path
    options: tuple[str, ...] = ()

    def run(self, directory: Path, *options: str) -> End:
        """Runs it to its end."""
        return self._run(directory, *options, fill_cache=True)

    def kill_at(self, directory: Path, event: int) -> End:
        """Lets it kill itself at one of its file events, counted from 1."""
        return self._run(directory, "--die-at", str(event))

    def kill_after(self, directory: Path, seconds: float) -> End:
        """Kills it when it has been ready for so long."""
        return self._run(directory, timeout=seconds)

    def tell_after(self, directory: Path, seconds: float) -> End:
        """Sends it SIGTERM when it has been ready for so long."""
        return self._run(directory, timeout=seconds, number=signal.SIGTERM)

    def _run(
        self,
        directory: Path,
        *options: str,
        timeout: float | None = None,
        number: signal.Signals = signal.SIGKILL,
        fill_cache: bool = False,
    ) -> End:
        command = [sys.executable, "-m", "tests.chaos._training"]
        with subprocess.Popen(
            [*command, str(directory), str(self.digits), *self.options, *options],
            cwd=ROOT,
            env=self._environment(fill_cache),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # so that reading a line takes no more than the line
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            began = time.perf_counter()
            try:
                out, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                out, errors = process.communicate()
        ended = time.perf_counter() - began
        report = json.loads(out) if out.strip() and process.returncode == 0 else {}
        return End(process.returncode, ended, report, errors.decode())

    def _environment(self, fill_cache: bool) -> Mapping[str, str]:
        # The tests' eight devices would be eight to the training too.
        kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        return kept | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(self.cache),
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            # Who is killed in the middle of writing an entry leaves half of it behind.
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0" if fill_cache else "1e9",
        }
