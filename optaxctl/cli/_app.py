"""The commands and their options."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import optaxctl

app = typer.Typer(
    name="optaxctl",
    help="Closed-loop training control for JAX and Optax.",
    epilog="Data goes to stdout, messages to stderr. Exit status: 0 success, "
    "1 failure, 2 wrong usage, 3 run not found, 130 interrupted.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Output(StrEnum):
    """How a command prints its data."""

    TABLE = "table"
    JSON = "json"


class Status(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOST = "lost"


class Severity(StrEnum):
    """How bad an event is, the least first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    EMERGENCY = "emergency"


AnyOutput = Annotated[
    Output, typer.Option("--output", "-o", help="How to print the data.")
]
Directory = Annotated[
    Path, typer.Option(envvar="OPTAXCTL_HOME", help="Where runs are recorded.")
]
RunKey = Annotated[
    str, typer.Argument(metavar="[RUN]", help="Its key or the beginning of it.")
]


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
    directory: Annotated[
        Path, typer.Option(help="Where the run keeps its checkpoints.")
    ] = Path("runs/demo"),
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

    One batch on the way is corrupted, and refused. Without --resume, an earlier demo
    run in the directory is replaced. Rates and accuracies are in percent.
    """
    from optaxctl.cli import _demo

    try:
        summary = _demo.run(directory, epochs=epochs, seed=seed, resume=resume)
    except _demo.DemoError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        again = f"optaxctl demo --resume --directory {directory}"
        typer.echo(f"Interrupted; `{again}` continues the run.", err=True)
        raise typer.Exit(130) from error
    _demo.show(summary, as_json=output is Output.JSON)


@app.command()
def runs(
    status: Annotated[
        Status | None, typer.Option(help="Only runs that stand so.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Runs at most.")] = 20,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """List the recorded runs, the newest first."""
    from optaxctl.cli import _runs

    with _runs.opened(directory) as project:
        wanted = status.value if status else None
        _runs.listing(project, wanted, limit, as_json=output is Output.JSON)


@app.command()
def show(
    run: RunKey = "@latest",
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Show how a run stands: metrics, rate, controllers, and its last events."""
    from optaxctl.cli import _runs

    with _runs.opened(directory) as project:
        _runs.show(project.run(run), as_json=output is Output.JSON)


@app.command()
def events(
    run: RunKey = "@latest",
    severity: Annotated[
        Severity | None, typer.Option(help="The lowest severity to show.")
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
            severity.value if severity else None,
            follow=follow,
            as_json=output is Output.JSON,
        )


@app.command()
def report(
    run: RunKey = "@latest",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write.")
    ] = Path("run.html"),
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN", help="A run to lay over it; may be repeated."),
    ] = None,
    directory: Directory = Path("runs"),
) -> None:
    """Write the report of a run as one HTML page, and print where it is."""
    from optaxctl.cli import _reports, _runs

    with _runs.opened(directory) as project:
        others = [project.run(key) for key in compare or ()]
        _reports.report(project.run(run), others, output)


@app.command()
def compare(
    run: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Keys, or the beginnings of them."),
    ],
    monitor: Annotated[
        str | None, typer.Option(help="The metric that decides.")
    ] = None,
    directory: Directory = Path("runs"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Show runs side by side, and which of them did best."""
    from optaxctl.cli import _reports, _runs

    with _runs.opened(directory) as project:
        found = [project.run(key) for key in run]
        try:
            _reports.compare(found, monitor, as_json=output is Output.JSON)
        except LookupError as error:
            raise typer.BadParameter(str(error), param_hint="--monitor") from error
