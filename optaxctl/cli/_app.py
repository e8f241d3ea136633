"""The commands and their options."""

from pathlib import Path
from typing import Annotated

import typer

import optaxctl
from optaxctl.cli import _building, _running
from optaxctl.cli._exit import FAILED, INTERRUPTED
from optaxctl.cli._options import (
    AnyOutput,
    Column,
    Directory,
    OtherRuns,
    Output,
    RunKey,
    RunKeys,
)
from optaxctl.host._recorded import Level, Status

app = typer.Typer(
    name="optaxctl",
    help="Closed-loop training control for JAX and Optax.",
    epilog="Data goes to stdout, messages to stderr. Exit status: 0 success, "
    "1 failure, 2 wrong usage, 3 run not found, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(_building.app)
app.add_typer(_running.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"optaxctl {optaxctl.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of every command."""
    del version


@app.command()
def demo(
    directory: Directory = Path("runs"),
    epochs: Annotated[
        int | None, typer.Option(min=3, help="Epochs at most.  [default: 60]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of model and batches.  [default: 0]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the directory.")
    ] = False,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="How to print the summary.")
    ] = Output.TABLE,
) -> None:
    """Train an MLP on handwritten digits, with the run under control.

    One batch on the way is corrupted, and refused. The run is recorded in the directory
    and keeps its checkpoints in `demo` there; without --resume, those of an earlier
    demo run are replaced. Rates and accuracies are in percent.
    """
    from optaxctl.cli import _demo

    try:
        summary = _demo.run(directory, epochs=epochs, seed=seed, resume=resume)
    except _demo.DemoError as error:
        typer.echo(error, err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error
    _demo.show(summary, as_json=output is Output.JSON)


@app.command()
def runs(
    status: Annotated[
        Status | None, typer.Option(help="Only runs that stand so.")
    ] = None,
    sort: Annotated[Column | None, typer.Option(help="The column to sort by.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs at most.")] = 20,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """List the recorded runs, the newest first."""
    from optaxctl.cli import _runs

    with _runs.opened(directory) as project:
        _runs.listing(
            project,
            status,
            sort.value if sort else None,
            limit,
            as_json=output is Output.JSON,
        )


@app.command()
def show(
    run: RunKey = "@latest",
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Show how a run stands, on one screen."""
    from optaxctl.cli import _runs

    with _runs.opened(directory) as project:
        _runs.show(project.run(run), as_json=output is Output.JSON)


@app.command()
def events(
    run: RunKey = "@latest",
    severity: Annotated[
        Level | None, typer.Option(help="The lowest severity to show.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run has ended.")
    ] = False,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Show what the controllers did in a run, when and why.

    With -o json every line is a JSON object.
    """
    from optaxctl.cli import _runs

    with _runs.opened(directory) as project:
        _runs.events(
            project,
            project.run(run),
            severity,
            follow=follow,
            as_json=output is Output.JSON,
        )


@app.command()
def report(
    run: RunKey = "@latest",
    save: Annotated[Path, typer.Option(help="The file to write.")] = Path("run.html"),
    compare: OtherRuns = None,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Write the report of a run as one HTML page."""
    from optaxctl.cli import _reports, _runs

    with _runs.opened(directory) as project:
        others = [project.run(key) for key in compare or ()]
        as_json = output is Output.JSON
        _reports.report(project.run(run), others, save, as_json=as_json)


@app.command()
def compare(
    run: RunKeys,
    monitor: Annotated[
        str | None, typer.Option(help="The metric that decides.")
    ] = None,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Show runs side by side, and which of them did best."""
    from optaxctl.cli import _reports, _runs

    with _runs.opened(directory) as project:
        found = {one.key: one for one in map(project.run, run)}  # each once
        try:
            _reports.compare([*found.values()], monitor, as_json=output is Output.JSON)
        except LookupError as error:
            raise typer.BadParameter(str(error), param_hint="--monitor") from error
