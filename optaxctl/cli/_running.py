"""The commands for a run that is under way, and their options."""

from pathlib import Path
from typing import Annotated

import typer

from optaxctl.cli._options import AnyOutput, Directory, Output, RunKey, RunningRun

app = typer.Typer()

Wait = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="How long to wait for the answer."),
]


@app.command()
def watch(
    run: RunKey = "@latest",
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Watch a run until it has ended: what `show` shows, and charts.

    Ctrl-C ends the watching, not the run. Where stdout is no terminal, every change is
    a line; with -o json a JSON object.
    """
    from optaxctl.cli import _runs, _watch

    with _runs.opened(directory) as project:
        _watch.watch(project, project.run(run), as_json=output is Output.JSON)


@app.command()
def replay(
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="What to try.")
    ],
    run: RunKey = "@latest",
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Show what another configuration would have decided on a recorded run.

    The replay is open loop: what was recorded does not answer to its decisions.
    """
    from optaxctl.cli import _runs

    with _runs.opened(directory) as project:
        found = project.run(run)
        from optaxctl.cli import _replay

        _replay.replay(found, config, as_json=output is Output.JSON)


@app.command(name="set")
def set_(
    run: RunningRun,
    setting: Annotated[
        str,
        typer.Argument(
            metavar="NAME=VALUE", help="lr_scale, 0 to 10, or learning_rate, 0 to 1000."
        ),
    ],
    wait: Wait = 10,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Tell a running run to scale or set its learning rate, and wait for its answer."""
    from optaxctl.cli import _runs, _tell

    try:
        what = _tell.parsed(setting)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="NAME=VALUE") from error
    with _runs.opened(directory) as project:
        _tell.tell(project, run, what, wait, as_json=output is Output.JSON)


@app.command()
def stop(
    run: RunningRun,
    wait: Wait = 10,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Tell a running run to stop, and wait for its answer."""
    from optaxctl.cli import _runs, _tell

    with _runs.opened(directory) as project:
        _tell.tell(project, run, {"stop": True}, wait, as_json=output is Output.JSON)
