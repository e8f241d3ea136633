"""The short form of `python -m tests.chaos.kill`, on the way in."""

from pathlib import Path

import pytest

from tests.chaos._kills import killed, whole

ROUNDS = 5


@pytest.mark.newest
def test_a_run_that_is_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    run = whole(tmp_path)
    for number in range(ROUNDS):
        result = killed(run, tmp_path, seed=0, number=number)
        assert result.kills
        assert not result.differences
        assert not result.leftovers
        assert (result.lost, result.doubled) == (0, 0)
