"""Counts the verdicts on other libraries' numbers, and prints them at the end."""

from collections import Counter
from pathlib import Path

import pytest

from tests.oracles._cases import OUTCOMES, TABLE


@pytest.fixture(scope="session")
def oracles(request: pytest.FixtureRequest) -> Path:
    """The directory that `--oracles` names."""
    return Path(request.config.getoption("--oracles") or "")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    table = config.stash.get(TABLE, {})
    if not table:
        return
    write = terminalreporter.write_line
    terminalreporter.section("other libraries' numbers")
    width = max(map(len, table)) + 2
    write(f"{'library':{width}}" + "".join(f"{outcome:>16}" for outcome in OUTCOMES))
    for library, verdicts in sorted(table.items()):
        counts = Counter()
        for verdict, count in verdicts.items():
            counts[verdict.outcome] += count
        write(f"{library:{width}}" + "".join(f"{counts[o]:16}" for o in OUTCOMES))
    for library, verdicts in sorted(table.items()):
        for verdict, count in verdicts.most_common():
            if verdict.reason:
                write(
                    f"{library:{width}}{count:5}  {verdict.outcome}: {verdict.reason}"
                )
