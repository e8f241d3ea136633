"""Other libraries' numbers, and what may be said about each of them."""

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Case(NamedTuple):
    """One run of a library: what it was given and what it did."""

    library: str
    name: str
    config: dict[str, Any]
    inputs: dict[str, Any]
    expected: dict[str, Any]


class Verdict(NamedTuple):
    """What became of a case; a difference and an absence say why."""

    outcome: str
    reason: str = ""


OUTCOMES = ("matched", "differs", "not applicable")
TABLE = pytest.StashKey[dict[str, Counter[Verdict]]]()
MATCHED = Verdict("matched")


def unproven(found: str) -> Verdict:
    """A mismatch that nobody has explained: it fails the test."""
    return Verdict("unproven", found)


def later(issue: int) -> Verdict:
    """A case for a member of the library that is still to come."""
    return Verdict("not applicable", f"issue {issue}")


def content(directory: Path, file: str) -> dict[str, Any]:
    """Returns a file of numbers, the strings "nan", "inf" and "-inf" included."""
    if not (directory / file).exists():
        pytest.skip(f"{directory} has no {file}")
    with gzip.open(directory / file) as stream:
        return _numbers(json.load(stream))


def differs(
    ours: Any, theirs: Any, quirks: Mapping[str, str], rule: Callable[..., Any]
) -> Verdict:
    """Explains a mismatch by the fewest quirks of the library that account for it.

    `rule(quirks)` is the library's rule, written down again. With all its quirks it
    must give the library's numbers; without the ones that are blamed, ours.
    """
    if not theirs(rule(frozenset(quirks))):
        return unproven(
            "The library's rule, as it is written here, gives other numbers"
        )
    for size in range(1, len(quirks) + 1):
        for blamed in itertools.combinations(quirks, size):
            if ours(rule(frozenset(quirks) - set(blamed))):
                return Verdict("differs", "; ".join(quirks[name] for name in blamed))
    return unproven("No known quirk of the library explains the mismatch")


def settle(
    config: pytest.Config, cases: Iterable[Case], judge: Callable[[Case], Verdict]
) -> None:
    """Judges every case, counts the verdicts, and fails on one that is unproven."""
    table = config.stash.setdefault(TABLE, {})
    failures = []
    for case in cases:
        try:
            verdict = judge(case)
        except Exception as error:  # One case must not hide the others from the table.
            verdict = unproven(f"{type(error).__name__}: {error}")
        table.setdefault(case.library, Counter())[verdict] += 1
        if verdict.outcome not in OUTCOMES:
            failures.append(f"{case.name}: {verdict.reason}")
    assert not failures, "\n".join(failures)


def only(config: Mapping[str, Any], known: Collection[str]) -> bool:
    """Whether a library was run with no option but the `known` ones."""
    return not {name for name, value in config.items() if value is not None} - set(
        known
    )


def _numbers(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_numbers(value) for value in tree]
    return float(tree) if tree in ("nan", "inf", "-inf") else tree
