"""The figure of a run is its page on paper."""

import pathlib
import sys
from typing import Any

import numpy as np
import pytest

import optaxctl as octl
from tests.report._project import training


def test_draws_the_charts_of_the_page(tmp_path: pathlib.Path) -> None:
    run = training(tmp_path)
    figure: Any = octl.report.plot(run)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "Loss",
        "Validation loss minus training loss",
        "Learning rate",
        "Gradient norm",
        "accuracy",
    ]
    loss, val, _, *markers = figure.axes[0].get_lines()
    np.testing.assert_array_equal(loss.get_data(), run.series("loss"))
    np.testing.assert_array_equal(val.get_data(), run.series("val_loss"))
    assert [line.get_xdata()[0] for line in markers] == [30, 150, 300]
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3"]
    assert [axes.get_yscale() for axes in figure.axes[::3]] == ["log", "log"]
    assert figure.get_suptitle().startswith("Stopped at step 300: val_loss has not")
    assert figure.canvas.manager is None
    figure.draw_without_rendering()


def test_lays_runs_over_each_other(tmp_path: pathlib.Path) -> None:
    runs = [training(tmp_path, seed=n, name=name) for n, name in enumerate("ab")]
    axes: Any = octl.report.plot(*runs).axes
    labels = [[t.get_text() for t in a.get_legend().get_texts()] for a in axes[:2]]
    names = ["loss", "val_loss", "loss, mean between checks"]
    assert labels == [[f"{run}: {name}" for run in "ab" for name in names], ["a", "b"]]
    assert len({line.get_color() for line in axes[0].get_lines()}) == 2


def test_says_how_to_get_matplotlib(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "optaxctl\[plot\]"'):
        octl.report.plot(training(tmp_path))
