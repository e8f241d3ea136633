"""The entry point, which works far enough without the extra to name it."""

import sys

from optaxctl.host._extras import MissingExtra, load


def main() -> None:
    """Runs the command line.

    Exits with 0 after success, 1 when the work failed or an extra is missing, 2 when
    the command was not understood, 3 when there is no such run, 130 when it was
    interrupted.
    """
    try:
        for module in ("typer", "rich"):
            load(module, extra="cli", who="`optaxctl`")
        from optaxctl.cli._app import app

        app(prog_name="optaxctl")
    except MissingExtra as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(1)
