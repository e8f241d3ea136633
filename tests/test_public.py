"""The front door: every name resolves, is documented, and costs nothing unused."""

import ast
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import optaxctl as octl

ROOT = pathlib.Path(__file__).parent.parent
NEEDS_AN_EXTRA = "optaxctl.frontends"


def stub() -> dict[str, str]:
    """Returns the names that type checkers see, and the module each comes from."""
    source = (ROOT / "optaxctl" / "__init__.pyi").read_text(encoding="utf-8")
    return {
        alias.asname: node.module
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.asname and alias.asname == alias.name
    }


NAMES = sorted(stub())


def members(name: str) -> Iterator[tuple[str, Any]]:
    """Yields what a name stands for: itself, and what a module defines for others."""
    value = getattr(octl, name)
    yield name, value
    if isinstance(value, types.ModuleType):
        for n, member in vars(value).items():
            home = getattr(member, "__module__", "")
            if not n.startswith("_") and home.startswith(value.__name__):
                yield f"{name}.{n}", member


def sections(value: Any) -> dict[str, str]:
    """Splits a docstring by its headings; the text above them is under ''."""
    parts = re.split(r"^([A-Z]\w+):\n", inspect.getdoc(value) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def loaded(code: str) -> set[str]:
    """Returns the top-level modules that a new interpreter has loaded after `code`."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_type_checkers_see_the_names_that_exist() -> None:
    assert sorted(vars(octl)["__all__"]) == NAMES
    assert set(dir(octl)) == {"__version__", *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_name_is_what_the_stub_says(name: str) -> None:
    home = stub()[name]
    value = getattr(octl, name)
    if isinstance(value, types.ModuleType):
        assert value is importlib.import_module(f"{home}.{name}")
    else:
        assert value is getattr(importlib.import_module(home), name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'optaxctl' has no attribute 'patience'"):
        octl.patience  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", NAMES)
def test_name_has_a_one_line_summary(name: str) -> None:
    for path, value in members(name):
        summary, _, rest = sections(value)[""].partition("\n")
        assert re.fullmatch(r"\S.*\.", summary), path
        assert not rest or rest.startswith("\n"), path


@pytest.mark.parametrize("name", NAMES)
def test_function_documents_arguments_result_and_example(name: str) -> None:
    for path, value in members(name):
        if not inspect.isfunction(value):
            continue
        parts = sections(value)
        arguments = re.findall(
            r"^  \*{0,2}(\w+): ", parts.get("Args", ""), re.MULTILINE
        )
        assert arguments == list(inspect.signature(value).parameters), path
        assert parts.keys() & {"Returns", "Yields"}, path
        assert ">>> " in parts.get("Example", ""), path


def test_import_loads_nothing() -> None:
    third_party = loaded("import optaxctl") - loaded("") - sys.stdlib_module_names
    assert third_party == {"optaxctl"}


def test_words_for_flags_need_no_jax() -> None:
    code = "import optaxctl as octl; assert octl.Alarm(1).name == 'NONFINITE_LOSS'"
    assert not loaded(code) & {"jax", "numpy"}


def test_all_but_front_ends_load_jax_jaxtyping_and_optax_only() -> None:
    names = [n for n, home in stub().items() if home != NEEDS_AN_EXTRA]
    use = (
        "import jax, optax, optaxctl as octl\n"
        f"for name in {names}: getattr(octl, name)\n"
        "tx = octl.supervise(octl.inject(optax.adam, learning_rate=0.1))\n"
        "step = jax.jit(lambda g, s: tx.update(g, s, g, value=1.0)[1])\n"
        "x = jax.numpy.ones(2)\n"
        "octl.read(step(x, tx.init(x)))\n"
    )
    needed = "import jax, jaxtyping, optax\njax.jit(jax.numpy.sin)(1.0)"
    assert loaded(use) - loaded(needed) - sys.stdlib_module_names == {"optaxctl"}
