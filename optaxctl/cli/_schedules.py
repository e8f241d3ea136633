"""`optaxctl schedule plot`: the course of learning rates, as a table and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from optaxctl.cli import _files, _screen, _user
from optaxctl.host import config
from optaxctl.host._format import number
from optaxctl.host.config import Config, ConfigError, Problem

_SHARES = (0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1)
_DENSE = 100_001  # points among which the highest and the lowest are looked for


def plot(
    paths: Sequence[Path], steps: int | None, picture: Path, *, as_json: bool
) -> None:
    """Prints what schedules are at key steps, and draws them."""
    _user.here()
    with _user.told():
        given = {str(path): config.read(path) for path in paths}
        read = {name: _rated(name, one) for name, one in given.items()}
        steps = steps or max(_span(c.as_dict().get("schedule")) for c in read.values())
        if not steps:
            message = "The files do not tell how far to draw. Name the last step."
            raise typer.BadParameter(message, param_hint="--steps")
        courses = {name: one.rate() for name, one in read.items()}

    from optaxctl.report import schedule as drawn

    at = np.linspace(0, steps, min(steps + 1, _DENSE)).round().astype(np.int32)
    values = {name: _at(course, at) for name, course in courses.items()}
    highest = {name: int(np.argmax(v)) for name, v in values.items()}
    lowest = {name: int(np.argmin(v)) for name, v in values.items()}
    shares = [round(share * (len(at) - 1)) for share in _SHARES]
    places = np.unique([*shares, *highest.values(), *lowest.values()])
    figure = drawn(_callable(courses), steps)
    if all(one.learning_rate for one in given.values()):
        figure.axes[0].set_ylabel("learning rate")
    _files.draw(picture, figure)
    if as_json:
        _screen.as_json(
            steps=steps,
            picture=str(picture),
            schedules=[
                {
                    "file": name,
                    "values": [[int(at[p]), float(v[p])] for p in places],
                    "highest": [float(v[highest[name]]), int(at[highest[name]])],
                    "lowest": [float(v[lowest[name]]), int(at[lowest[name]])],
                    "mean": float(v.mean()),
                }
                for name, v in values.items()
            ],
        )
        return
    _screen.table(
        ("step", *values),
        [[f"{at[p]:,}", *(number(v[p]) for v in values.values())] for p in places],
    )
    for name, v in values.items():
        high, low = highest[name], lowest[name]
        _screen.line(
            f"{name}: highest {number(v[high])} at step {at[high]:,}, lowest "
            f"{number(v[low])} at step {at[low]:,}, mean {number(v.mean())}."
            if v[low] < v[high]
            else f"{name}: {number(v[0])} throughout."
        )
    for name, one in given.items():
        if one.learning_rate is None:
            _screen.say(f"{name}: it names no rate; this is the factor of one.")
        if one.lr is not None:
            _screen.say(f"{name}: `lr` can move the rate further; this is without it.")
    _screen.say(f"The picture is {picture}.")


def _rated(name: str, read: Config) -> Config:
    """Returns a configuration that has a rate; 1 stands for one that is not given."""
    if read.schedule is None and read.learning_rate is None:
        word = "There is no `schedule` and no `learning_rate`, so nothing to draw."
        raise ConfigError(Problem(name, "", word))
    return read if read.learning_rate else replace(read, learning_rate=1.0)


def _span(said: Any) -> int:
    """Returns how many steps a schedule has, as far as its numbers tell."""
    if isinstance(said, Mapping):
        own = [v for k, v in said.items() if k.endswith("steps") and v is not None]
        ends = [v[-1] for k, v in said.items() if k in ("boundaries", "milestones")]
        inner = [v for v in said.values() if isinstance(v, Mapping | list)]
        return sum(own) + max(ends, default=0) + sum(map(_span, inner))
    parts = said if isinstance(said, list) else ()
    return max(map(_span, parts), default=0)


def _at(course: Any, at: Any) -> Any:
    found = course(at) if callable(course) else course
    return np.broadcast_to(np.asarray(found, np.float32), at.shape)


def _callable(courses: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: course if callable(course) else lambda at, course=course: course
        for name, course in courses.items()
    }
