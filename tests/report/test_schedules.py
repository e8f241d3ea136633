"""A schedule is drawn as it is."""

import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl


def drawn(schedule: Any, steps: int) -> tuple[Any, Any]:
    (line,) = octl.report.schedule(schedule, steps).axes[0].get_lines()
    return line.get_data()


@pytest.mark.parametrize(
    "schedule", [octl.schedules.cosine(7), optax.constant_schedule(0.5)]
)
def test_draws_the_value_at_every_step(schedule: Any) -> None:
    steps, values = drawn(schedule, 10)
    np.testing.assert_array_equal(steps, range(11))
    np.testing.assert_array_equal(values, [schedule(jnp.int32(n)) for n in range(11)])


def test_draws_several_by_their_names() -> None:
    several = {"half": optax.constant_schedule(0.5), "ours": octl.schedules.cosine(7)}
    axes: Any = octl.report.schedule(several, 10).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines.keys() == several.keys()
    assert len({line.get_color() for line in lines.values()}) == 2
    for name, line in lines.items():
        _, values = drawn(several[name], 10)
        np.testing.assert_array_equal(line.get_ydata(), values)
    with pytest.raises(ValueError, match=r"^`report.schedule\(schedule=...\)` must be"):
        octl.report.schedule({}, 10)


def test_draws_steps_from_end_to_end_of_the_longest_run() -> None:
    last = 2**31 - 1
    steps, values = drawn(octl.schedules.linear(last), last)
    assert (len(steps), steps[0], steps[-1]) == (1001, 0, last)
    assert (values[0], values[-1]) == (1.0, 0.0)
    assert np.ptp(np.diff(steps.astype(np.int64))) <= 1


def test_names_the_axes_and_opens_no_window() -> None:
    figure = octl.report.schedule(octl.schedules.linear(5), 5)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "value")
    assert figure.canvas.manager is None


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_refuses_what_is_no_count_of_steps(steps: Any) -> None:
    with pytest.raises(ValueError, match=r"^`report.schedule\(steps=...\)` must be"):
        octl.report.schedule(octl.schedules.linear(5), steps)


def test_says_how_to_get_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "optaxctl\[plot\]"'):
        octl.report.schedule(octl.schedules.linear(5), 5)
