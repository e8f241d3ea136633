"""A layer imports only what stands above it, and the pure ones nothing else."""

import ast
import pathlib
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "optaxctl"

# From the top down. The families are siblings, so each stands alone in its row.
LAYERS = (
    {"_core"},
    {"schedules"},
    {"lr", "clip", "stop", "watch", "batch"},
    {"transforms"},
    {"views"},
    {"frontends"},
    {"host"},
    {"report"},
    {"cli"},
)
DEPTH = {name: depth for depth, row in enumerate(LAYERS) for name in row}
PURE = {name for name, depth in DEPTH.items() if depth <= DEPTH["views"]}
CORE_DEPENDENCIES = {"jax", "jaxtyping", "numpy", "optax"}

MODULES = sorted(p.relative_to(PACKAGE) for p in PACKAGE.glob("*/**/*.py"))
ids = pathlib.PurePath.as_posix


def imports(source: str) -> Iterator[str]:
    """Yields the dotted name of every import, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def offences(layer: str, source: str) -> list[str]:
    """Returns the imports of a file that its layer may not make."""
    found = []
    for name in imports(source):
        root, _, rest = name.partition(".")
        if root == "optaxctl":
            # The front door stands below everything but the command line.
            above = DEPTH.get(rest.partition(".")[0], DEPTH["report"])
            sibling = rest.partition(".")[0] == layer
            allowed = sibling or above < DEPTH[layer]
        else:
            standard = root in sys.stdlib_module_names
            allowed = standard or layer not in PURE or root in CORE_DEPENDENCIES
        if not allowed:
            found.append(name)
    return found


@pytest.mark.parametrize("module", MODULES, ids=ids)
def test_imports_only_from_above(module: pathlib.Path) -> None:
    assert not offences(module.parts[0], (PACKAGE / module).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("layer", "source", "allowed"),
    [
        ("lr", "from optaxctl._core import checks", True),
        ("lr", "from optaxctl.lr._plateau import plateau", True),
        ("lr", "from optaxctl.clip import zscore", False),
        ("lr", "from optaxctl import clip", False),
        ("lr", "import optaxctl.views._control", False),
        ("lr", "def f():\n    import optaxctl as octl", False),
        ("_core", "from optaxctl.schedules import cosine", False),
        ("views", "from optaxctl import __version__", False),
        ("cli", "from optaxctl import __version__", True),
        ("cli", "import optaxctl as octl", True),
        ("views", "import jax.numpy as jnp", True),
        ("views", "import flax", False),
        ("views", "from .x import y", False),
        ("frontends", "import flax", True),
    ],
)
def test_the_rule_itself(layer: str, source: str, allowed: bool) -> None:
    assert (not offences(layer, source)) is allowed


def test_every_folder_is_a_layer() -> None:
    assert {module.parts[0] for module in MODULES} <= DEPTH.keys()


def test_flags_import_only_the_standard_library() -> None:
    source = (PACKAGE / "_core" / "flags.py").read_text(encoding="utf-8")
    roots = {name.partition(".")[0] for name in imports(source)}
    assert roots <= sys.stdlib_module_names


def test_no_file_is_longer_than_300_lines() -> None:
    files = [
        p for d in ("optaxctl", "tests", "examples") for p in (ROOT / d).rglob("*.py")
    ]
    lengths = {
        str(p.relative_to(ROOT)): p.read_text(encoding="utf-8").count("\n")
        for p in files
    }
    assert not {name: n for name, n in lengths.items() if n > 300}
