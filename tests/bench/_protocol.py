"""How every bench measures, judges and prints.

Times are ratios to a baseline: all variants run once per round, in random order, and
the ratio is the median over rounds, so that a busy machine slows both sides alike. The
processor time beside the wall time tells a busy machine from a slow program.
"""

import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any


@dataclass(frozen=True)
class Bound:
    """A measured value that must not exceed its bound."""

    name: str
    value: float
    bound: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.bound


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one variant, and their ratio to the baseline's."""

    wall: float
    ratio: float
    low: float  # quartiles of the ratio over rounds
    high: float
    cpu: float  # of all threads
    cpu_ratio: float


@dataclass
class Report:
    """What a bench found: bounds that decide, tables that explain."""

    bench: str
    bounds: list[Bound] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def bound(self, name: str, value: float, bound: float, unit: str = "ratio") -> None:
        self.bounds.append(Bound(name, round(float(value), 4), bound, unit))

    def table(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        self.tables[name] = list(rows)

    def finish(self, *, as_json: bool) -> int:
        """Prints the report and returns the exit status: 1 if a bound is missed."""
        if as_json:
            bounds = [{**asdict(b), "pass": b.met} for b in self.bounds]
            whole = {
                "bench": self.bench,
                "environment": environment(),
                "bounds": bounds,
                "tables": self.tables,
            }
            print(json.dumps(whole))
        else:
            facts = " ".join(f"{k}={v}" for k, v in environment().items())
            print(f"{self.bench}: {facts}")
            for name, rows in self.tables.items():
                print(f"\n{name}")
                _print_rows(rows)
            print("\nbounds")
            _print_rows(
                {**asdict(b), "": "pass" if b.met else "MISSED"} for b in self.bounds
            )
        return 0 if all(b.met for b in self.bounds) else 1


def paired(
    variants: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    calls: int = 1,
    prepare: Callable[[str], Any] = lambda name: None,
) -> dict[str, Timing]:
    """Times the variants, each of which makes `calls` calls; the first is the base.

    `prepare` is called with the variant's name before each of its turns, untimed.
    """
    names = list(variants)
    order = random.Random(0)
    wall: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in order.sample(names, len(names)):
            prepare(name)
            start, burnt = time.perf_counter(), time.process_time()
            variants[name]()
            wall[name].append((time.perf_counter() - start) / calls)
            cpu[name].append((time.process_time() - burnt) / calls)
    base = names[0]
    return {n: _timing(wall[n], wall[base], cpu[n], cpu[base]) for n in names}


def environment() -> dict[str, Any]:
    """What a reader needs to compare one report with another."""
    packages = ("jax", "jaxlib", "optax", "numpy")
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def progress(text: str) -> None:
    """Says on stderr what is being measured, so that stdout stays a report."""
    print(text, file=sys.stderr, flush=True)


def _timing(
    wall: list[float], base: list[float], cpu: list[float], base_cpu: list[float]
) -> Timing:
    ratios = [w / b for w, b in zip(wall, base, strict=True)]
    low, middle, high = (
        statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    )
    cpu_ratios = [c / b for c, b in zip(cpu, base_cpu, strict=True)]
    return Timing(
        statistics.median(wall),
        middle,
        low,
        high,
        statistics.median(cpu),
        statistics.median(cpu_ratios),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _print_rows(rows: Iterable[dict[str, Any]]) -> None:
    rows = [{k: _shown(v) for k, v in row.items()} for row in rows]
    columns = {k: None for row in rows for k in row}
    cells = [list(columns), *([row.get(c, "") for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
