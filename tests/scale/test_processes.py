"""Two processes decide as one, leave as one, and go on as if nothing had been.

Starting processes takes seconds, so three starts serve all tests: a run that process 1
is told to leave, beside one that nothing happens to; the first run again, which ends
when process 1 is killed; and again, to its end. In between this process reads what two
have written, and writes what two will read.
"""

import signal
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

import optaxctl as octl
from tests.scale._launch import End, together
from tests.scale._training import BATCHES, digests, mesh, restored, save


class Story(NamedTuple):
    left: list[End]
    killed: list[End]
    ended: list[End]
    alone: dict[str, str]  # what one process restored of the whole run
    recorded: octl.runs.Run

    @property
    def whole(self) -> dict[str, Any]:
        return self.left[0].reports[-1]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    at: Path = tmp_path_factory.mktemp("scale")
    left = together(2, at)
    assert [end.reports != [] for end in left] == [True] * 2, left
    carry = restored(at / "two", mesh(jax.devices()[:4]))
    save(at / "one", carry)
    epochs = ("--epochs", left[0].reports[-1]["epochs"])
    killed = together(2, at, *epochs, "--from-one", "--die-at", BATCHES // 2)
    ended = together(2, at, *epochs)
    assert [end.reports != [] for end in ended] == [True] * 2, ended
    recorded = octl.runs.Project(at / "runs").run()
    return Story(left, killed, ended, digests(carry), recorded)


def test_every_process_decides_the_same_and_compiles_once(story: Story) -> None:
    ours, theirs = (end.reports[-1] for end in story.left)
    for of in ("epochs", "reading", "carry", "best"):
        assert ours[of] == theirs[of]
    reading = ours["reading"]
    assert reading["refused"] > 1
    assert reading["rewinds"] > 0
    assert [end.reports[-1]["compiled"] for end in story.left] == [1, 1]


def test_a_metric_of_both_processes_counts_once_an_evaluation(story: Story) -> None:
    """The last evaluation is not consumed yet, and the first is the best so far."""
    assert story.whole["reading"]["gauges"]["stop/stale"] == story.whole["epochs"] - 2


def test_a_checkpoint_of_two_processes_is_read_by_two_and_by_one(story: Story) -> None:
    assert story.whole["restored"] == story.whole["carry"]
    assert story.alone == story.whole["carry"]


def test_a_checkpoint_of_one_process_is_read_by_two(story: Story) -> None:
    assert story.killed[0].reports == [{"carry": story.whole["carry"]}]


def test_lanes_on_several_processes_go_by_name(story: Story) -> None:
    before, after = story.whole["lanes"]
    assert before == after


def test_only_process_0_writes_beside_the_shards_of_arrays(story: Story) -> None:
    first, second = (end.reports[-1]["written"] for end in story.left)
    assert any("checksums" in change for change in first)
    others = [c for c in second if "/array_metadatas/process_1" not in c]
    assert others == []


def test_one_records_and_all_hear_what_the_user_asks_for(story: Story) -> None:
    steps = story.recorded.series("step")[0]
    assert steps == list(range(1, story.whole["reading"]["step"] + 1))
    assert [end.reports[-1]["commands"] for end in story.left] == [
        [{"lr_scale": 1}]
    ] * 2


def test_a_signal_to_one_makes_all_leave_at_one_step(story: Story) -> None:
    assert [end.status for end in story.left] == [0, 0]
    ours, theirs = (end.reports[-1]["left"] for end in story.left)
    assert ours.startswith("A signal came; everything is saved at step ")
    assert theirs == ours.replace("A signal", "SIGTERM")


def test_when_one_is_killed_the_other_ends_with_an_error(story: Story) -> None:
    survivor, killed = story.killed
    assert killed.status == -signal.SIGKILL
    assert survivor.status not in (0, -signal.SIGKILL)


def test_left_and_killed_the_run_ends_as_if_it_had_not_been(story: Story) -> None:
    for end in story.ended:
        assert end.status == 0
        ended = end.reports[-1]
        assert {k: ended[k] for k in ("carry", "best")} == {
            k: story.whole[k] for k in ("carry", "best")
        }
        assert ended["compiled"] == 1
