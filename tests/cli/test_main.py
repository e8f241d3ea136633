"""The command line without its work: versions, errors, extras."""

import os
import re
import subprocess
import sys

import pytest

import optaxctl as octl
from optaxctl.cli import main
from tests.report._project import training

RUN = (sys.executable, "-c")


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["optaxctl", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


def test_the_version_needs_no_jax():
    code = (
        "import sys; sys.argv = ['optaxctl', '--version']\n"
        "from optaxctl.cli import main\n"
        "try: main()\n"
        "finally: print('jax' in sys.modules)"
    )
    done = subprocess.run([*RUN, code], capture_output=True, text=True, check=True)
    assert done.stdout == f"optaxctl {octl.__version__}\nFalse\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dmeo"], "No such command 'dmeo'"),
        (["demo", "--epochs", "2"], "'--epochs'"),
        (["demo", "-o", "xml"], "'xml' is not one of"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message, monkeypatch, capsys):
    assert call(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("typer", ["--version"], "cli"),
        ("rich", ["demo"], "cli"),
        ("flax", ["demo"], "demo"),
        ("orbax", ["demo"], "demo"),
        ("sklearn", ["demo"], "demo"),
    ],
)
def test_a_missing_extra_is_one_sentence_and_leaves_nothing(
    missing, arguments, extra, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    for module in [m for m in sys.modules if m.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    assert call(monkeypatch, *arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    sentence = (
        rf'`optaxctl.*` needs {missing}\S*: pip install "optaxctl\[{extra}\]"\.\n'
    )
    assert re.fullmatch(sentence, err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", ["runs", "events -o json"])
def test_whoever_has_seen_enough_ends_a_command_quietly(tmp_path, arguments):
    training(tmp_path)
    code = "from optaxctl.cli import main; main()"
    gone, pipe = os.pipe()
    os.close(gone)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()],
        env={**os.environ, "OPTAXCTL_HOME": str(tmp_path)},
        stdout=pipe,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(pipe)
    assert (done.returncode, done.stderr) == (0, b"")
