"""A killed and restarted run ends as one that nothing happened to, bit for bit.

`python -m tests.chaos.kill` does it a hundred times, and worse things.
"""

import pytest

from tests.chaos import _kills


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return _kills.whole(tmp_path_factory.mktemp("chaos"))


def test_the_run_meets_all_that_control_can_do(run):
    """A run without a rewind, a refusal or a cut would show little by being equal."""
    *_, last = _kills.rows(run.directory)
    assert last["refused"] > 1
    assert last["rewinds"] > 0
    assert last["clipped"] > 0
    assert last["lr_range"][0] < 0.5 * last["lr_range"][1]
    assert "has not beaten" in last["reason"]
    assert last["epoch"] == len(_kills.rows(run.directory))


@pytest.mark.parametrize("number", range(1))
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(run, tmp_path, number):
    found = _kills.killed(run, tmp_path, seed=0, number=number)
    assert found.kills
    assert (found.differences, found.lost, found.doubled) == ([], 0, 0)
