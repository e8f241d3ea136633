"""What surrounds the code agrees with it and with itself."""

import importlib
import os
import pathlib
import re
import tomllib

import pytest

import optaxctl as octl

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS = PROJECT["optional-dependencies"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def distributions(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}


def test_newest_version_of_the_changelog_is_this_one() -> None:
    newest = re.search(
        r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d|unreleased)$",
        text("CHANGELOG.md"),
        re.MULTILINE,
    )
    assert newest
    assert newest[1] == octl.__version__


def test_core_needs_three_packages() -> None:
    assert distributions(PROJECT["dependencies"]) == {"jax", "jaxtyping", "optax"}


def test_all_means_every_extra_a_user_may_want() -> None:
    (requirement,) = EXTRAS["all"]
    named = requirement.removeprefix("optaxctl[").removesuffix("]").split(",")
    assert set(named) == EXTRAS.keys() - {"all", "demo", "test"}


@pytest.mark.parametrize("tool", ["basedpyright", "ruff"])
def test_tools_whose_verdict_changes_by_version_are_pinned(tool: str) -> None:
    assert any(r.startswith(f"{tool}==") for r in EXTRAS["test"])


def test_command_leads_to_a_function() -> None:
    module, _, name = PROJECT["scripts"]["optaxctl"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_licence_is_the_one_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in text("LICENSE")


def test_types_are_published() -> None:
    assert (ROOT / "optaxctl" / "py.typed").exists()


def test_readme_has_two_commands_and_ci_runs_just_these() -> None:
    commands = re.findall(r"^```sh\n(.*?)\n```$", text("README.md"), re.MULTILINE)
    demo, tests = commands
    assert demo.endswith("optaxctl demo")
    assert tests.endswith("-m pytest")
    assert f"\ndemo='{demo}'\n" in text(".ci/run")
    assert f"\ntests='{tests}'\n" in text(".ci/run")


def test_ci_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_hooks_run_the_tools_that_ci_runs() -> None:
    tools = set(
        re.findall(r"^        entry: (\w+)", text(".pre-commit-config.yaml"), re.M)
    )
    assert tools == {"ruff", "basedpyright"}
    assert all(f".venv/bin/{tool}" in text(".ci/run") for tool in tools)
