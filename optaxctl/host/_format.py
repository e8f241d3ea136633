"""Numbers and words as people read them."""

import math

NOTHING = "—"


def clean(text: str) -> str:
    """Returns one line that a terminal shows and does not obey."""
    kept = (c if c.isprintable() else " " if c.isspace() else "" for c in text)
    return "".join(kept)


def number(value: float | None) -> str:
    """Returns four significant digits, whole numbers in full; a dash for None."""
    if value is None:
        return NOTHING
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def count(n: int, noun: str) -> str:
    """Returns `1 step` or `1,200 steps`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def duration(seconds: float) -> str:
    """Returns a time in its two largest units; below a minute in one."""
    if not math.isfinite(seconds):
        return "unknown"
    for below, unit, size in ((1e-3, "µs", 1e-6), (1, "ms", 1e-3), (59.95, "s", 1)):
        if seconds < below:
            return f"{seconds / size:.3g} {unit}"
    whole = round(seconds)
    for size, unit, part, smaller in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    raise AssertionError(seconds)
