"""The figure of a range test shows the curve, the suggestion and the verdict."""

import io
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from tests.host.test_lr_find import course, replayed

FALLS = replayed(course())
FLAT = replayed(np.full(100, 2.0))
BROKEN = replayed(np.full(100, np.nan))
SEEDS = jax.vmap(replayed)(jnp.stack([course(seed=k) for k in range(5)]))


def drawn(found: octl.RangeTest) -> Any:
    return octl.report.lr_find(found).axes[0]


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("found", [FALLS, FLAT, BROKEN, SEEDS])
def test_says_the_summary_over_named_axes(found: octl.RangeTest) -> None:
    axes = drawn(found)
    assert " ".join(axes.get_title(loc="left").split()) == found.summary()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "loss")
    assert axes.get_xscale() == "log"
    png = io.BytesIO()
    axes.figure.savefig(png, dpi=40)
    assert png.getvalue().startswith(b"\x89PNG")


def test_draws_the_losses_and_their_mean() -> None:
    raw, smoothed = drawn(FALLS).get_lines()[:2]
    np.testing.assert_array_equal(raw.get_data(), (FALLS.learning_rates, FALLS.losses))
    np.testing.assert_array_equal(smoothed.get_ydata(), FALLS.smoothed)


def test_marks_the_suggestions_where_they_are() -> None:
    axes = drawn(FALLS)
    names = ("valley", "steep", "slide", "gradient")
    said = [f"{name} {float(getattr(FALLS, name)):.1e}" for name in names]
    assert labels(axes)[-5:] == [*said, f"start with {FALLS.suggestion:.1e}"]
    *marks, line = axes.get_lines()[2:]
    for name, mark in zip(names, marks, strict=True):
        at = int(np.argmin(np.abs(FALLS.learning_rates - getattr(FALLS, name))))
        there = FALLS.learning_rates[at], FALLS.smoothed[at]
        np.testing.assert_allclose(np.ravel(mark.get_data()), there, rtol=1e-5)
    assert set(line.get_xdata()) == {FALLS.suggestion}


def test_shades_the_usable_rates_and_the_diverged_ones() -> None:
    usable, diverged = drawn(FALLS).patches
    assert usable.get_x() == FALLS.floor
    assert usable.get_x() + usable.get_width() == pytest.approx(FALLS.ceil)
    last = np.sum(FALLS.valid) - 1
    assert diverged.get_x() == FALLS.learning_rates[last]


def test_limits_cut_the_divergence_off_and_not_the_fall() -> None:
    low, high = drawn(FALLS).get_ylim()
    before = FALLS.losses[:80]
    assert low < before.min() < before.max() < high < np.nanmax(FALLS.smoothed) / 2


def test_without_a_clear_minimum_nothing_is_marked() -> None:
    axes = drawn(FLAT)
    assert labels(axes) == ["loss", "smoothed"]
    assert not axes.patches


def test_several_runs_are_thin_lines_and_one_mark() -> None:
    *lines, mark = drawn(SEEDS).get_lines()
    for line, smoothed in zip(lines, SEEDS.smoothed, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), smoothed)
        assert line.get_linewidth() < 1
    assert set(mark.get_xdata()) == {SEEDS.suggestion}
    assert "smoothed, 5 runs" in labels(drawn(SEEDS))


def test_knows_what_it_draws_by_attributes_and_needs_neither_jax_nor_pyplot() -> None:
    code = """
import sys, types
import numpy as np
from optaxctl.report import lr_find
found = types.SimpleNamespace(
    learning_rates=np.geomspace(1e-7, 1, 50), losses=np.ones(50),
    smoothed=np.ones(50), valid=np.ones(50, bool), valley=1e-3, steep=1e-3,
    slide=1e-3, gradient=1e-3, suggestion=1e-3, floor=1e-4, ceil=1e-2,
    summary=lambda: "A sentence.",
)
assert lr_find(found).axes[0].get_title(loc="left") == "A sentence."
assert not {"jax", "matplotlib.pyplot"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_absence_of_matplotlib_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError) as error:
        octl.report.lr_find(FALLS)
    assert str(error.value) == (
        '`octl.report.lr_find` needs matplotlib.figure: pip install "optaxctl[plot]".'
    )
