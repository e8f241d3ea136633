"""Options and arguments that several commands share."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

HOME = "OPTAXCTL_HOME"


class Output(StrEnum):
    """How a command prints its data."""

    TABLE = "table"
    JSON = "json"


class Column(StrEnum):
    """What the list of runs can be sorted by."""

    RUN = "run"
    STATUS = "status"
    STEPS = "steps"
    BEST = "best"
    LEARNING_RATE = "learning-rate"
    EVENTS = "events"
    UPDATED = "updated"


def _keys(ctx: typer.Context) -> list[tuple[str, str]]:
    """Returns the runs that a key on the line may become, the newest first."""
    from optaxctl.host.runs import Project

    given = ctx.params.get("directory") or os.environ.get(HOME) or "runs"
    try:
        return [(run.key, run.status) for run in Project(given).runs()]
    except Exception:  # a shell that is completing shows no message
        return []


AnyOutput = Annotated[
    Output, typer.Option("--output", "-o", help="How to print the data.")
]
Directory = Annotated[Path, typer.Option(envvar=HOME, help="Where runs are recorded.")]
RunKey = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Its key, the beginning of it, @latest or @best.",
        autocompletion=_keys,
    ),
]
RunningRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Its key, the beginning of it, or @latest.",
        autocompletion=_keys,
    ),
]
RunKeys = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN",
        help="Keys, or the beginnings of them.",
        autocompletion=_keys,
    ),
]
OtherRuns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="RUN",
        help="A run to lay over it; may be repeated.",
        autocompletion=_keys,
    ),
]
