"""The commands that describe and build a run, and their options."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from optaxctl.cli._files import PICTURES
from optaxctl.cli._options import AnyOutput, Directory, Output

app = typer.Typer()
schedule = typer.Typer(no_args_is_help=True)
app.add_typer(schedule, name="schedule")


class Preset(StrEnum):
    """Sections to start from."""

    CONSERVATIVE = "conservative"
    BALANCED = "balanced"
    AGGRESSIVE = "aggressive"
    MOE = "moe"


class Library(StrEnum):
    """Whose files can be converted."""

    TRAINNER = "trainner"
    AIOS = "aios"


def _picture(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in PICTURES:
        known = ", ".join(PICTURES)
        raise typer.BadParameter(f"The name must end in one of {known}, got {path}.")
    return path


def _settings(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for text, (key, equals, _) in zip(given, pairs, strict=True):
        if not (key and equals):
            message = f"{text!r} is not of the form `key=value`."
            raise typer.BadParameter(message, param_hint="--set")
    return {key: value for key, _, value in pairs}


def _keys(incomplete: str) -> list[tuple[str, str]]:
    from optaxctl.cli import _configs

    return _configs.keys(incomplete)


UserFunction = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:FUNCTION", help="Of a module here or an installed one."
    ),
]


@app.command()
def init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write.")
    ] = Path("run.yaml"),
    preset: Annotated[
        Preset, typer.Option(help="How boldly the learning rate is moved.")
    ] = Preset.BALANCED,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if there is one.")
    ] = False,
    output: AnyOutput = Output.TABLE,
) -> None:
    """Write a commented configuration, and a schema for editors."""
    from optaxctl.cli import _configs

    as_json = output is Output.JSON
    _configs.init(file, preset.value, force=force, as_json=as_json)


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A configuration.")],
    library: Annotated[
        Library | None, typer.Option("--from", help="The library whose file it is.")
    ] = None,
    output: AnyOutput = Output.TABLE,
) -> None:
    """Say all that is wrong in a configuration, or what it means.

    With --from, say of each key of another library's file what becomes of it here, and
    print the configuration that it amounts to.
    """
    from optaxctl.cli import _configs

    other = library.value if library else None
    _configs.validate(file, other, as_json=output is Output.JSON)


@app.command()
def explain(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help="Such as lr or lr.patience; all sections if left out.",
            autocompletion=_keys,
        ),
    ] = None,
    output: AnyOutput = Output.TABLE,
) -> None:
    """Say what a key means, what it takes, and its default."""
    from optaxctl.cli import _configs

    _configs.explain(key, as_json=output is Output.JSON)


@schedule.callback()
def schedules() -> None:
    """Look at the schedule of a configuration."""


@schedule.command()
def plot(
    file: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Configurations; several are compared."),
    ],
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="The last step.  [default: as the files tell]"),
    ] = None,
    save: Annotated[
        Path, typer.Option(help="The picture to write.", callback=_picture)
    ] = Path("schedule.png"),
    output: AnyOutput = Output.TABLE,
) -> None:
    """Show the learning rate at key steps, as scheduled, and draw it."""
    from optaxctl.cli import _schedules

    _schedules.plot(file, steps, save, as_json=output is Output.JSON)


@app.command()
def run(
    function: UserFunction,
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="Its configuration.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A value over it; may be repeated."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the last checkpoint, if there is one."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build it, and show what would be.")
    ] = False,
    output: AnyOutput = Output.TABLE,
) -> None:
    """Call your training function with what a file describes.

    It is called as FUNCTION(config), with an `octl.config.Config`, whose methods build
    what the file says. Without --resume it is not called if there are checkpoints.
    """
    from optaxctl.cli import _launch

    _launch.run(
        function,
        config,
        _settings(settings or []),
        resume=resume,
        dry_run=dry_run,
        as_json=output is Output.JSON,
    )


@app.command()
def lr_find(
    function: UserFunction,
    save: Annotated[
        Path | None, typer.Option(help="A picture to write.", callback=_picture)
    ] = None,
    output: AnyOutput = Output.TABLE,
) -> None:
    """Find a learning rate by raising it until training breaks.

    FUNCTION takes nothing and returns a dict of the arguments of `octl.lr_find`:
    `loss_fn`, `params` and `batches`, and what else it takes.
    """
    from optaxctl.cli import _lr_find

    _lr_find.lr_find(function, save, as_json=output is Output.JSON)


@app.command()
def doctor(
    directory: Directory = Path("runs"), output: AnyOutput = Output.TABLE
) -> None:
    """Check versions, devices and the directory of runs."""
    from optaxctl.cli import _doctor

    _doctor.doctor(directory, as_json=output is Output.JSON)
