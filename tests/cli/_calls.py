"""Commands called in this process, with what they print and their exit status."""

import json

import pytest
from typer.testing import CliRunner

from optaxctl.cli import _app
from optaxctl.cli._options import HOME


def call(*arguments, **environment):
    known = {HOME: None, "COLUMNS": "80", "FORCE_COLOR": None}
    done = CliRunner().invoke(_app.app, arguments, env={**known, **environment})
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


def strict(*arguments, **environment):
    code, out, _ = call(*arguments, "-o", "json", **environment)
    found = json.loads(out, parse_constant=pytest.fail)
    assert found.pop("version") == 1
    return code, found
