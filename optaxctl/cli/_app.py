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
    "1 failure, 2 wrong usage, 130 interrupted.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Output(StrEnum):
    """How a command prints its data."""

    TABLE = "table"
    JSON = "json"


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
