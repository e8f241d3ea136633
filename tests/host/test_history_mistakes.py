"""What a history is told wrongly is answered where it is told, not in its thread."""

import pytest

import optaxctl as octl
from tests.host._rows import row

MISTAKES = {
    "a state for a row": (
        lambda h: h.write({"w": 1}),
        "`History.write` takes what `octl.row(opt_state)` returns, got dict.",
    ),
    "one sink": (
        lambda h: octl.history.History(h.directory, sinks=print),  # pyright: ignore
        "`History(sinks=...)` must be a list of functions, got <built-in function "
        "print>.",
    ),
    "a list for a config": (
        lambda h: octl.history.History(h.directory, config=[1]),  # pyright: ignore
        "`History(config=...)` must be a mapping, got [1].",
    ),
    "a mode that is none": (
        lambda h: octl.history.History(h.directory, modes={"a": "maximum"}),  # pyright: ignore
        "`History(modes=...)` must be 'min' or 'max', got 'maximum'.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_at_once(mistake, tmp_path):
    make, words = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError), match=r"`History") as caught:
        make(octl.history.History(tmp_path))
    assert str(caught.value).startswith(words)


def test_what_comes_after_the_end_is_refused(tmp_path):
    with octl.history.History(tmp_path) as history:
        history.write(row(1))
    for late in (
        lambda: history.write(row(2)),
        lambda: history.evaluated(1, val_loss=0.0),
        lambda: history.event(1, "late"),
        lambda: history.epoch(1, 0.1),
    ):
        with pytest.raises(ValueError, match="has ended, so it takes nothing more"):
            late()
    assert history.flush()
    run = octl.runs.Project(tmp_path).run()
    assert run.series("loss")[0] == [1]
