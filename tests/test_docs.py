"""What the pages show is what happens: blocks run, output is as printed, links lead."""

import contextlib
import io
import pathlib
import re
import runpy
from collections.abc import Iterator

import pytest

from tests.laws.test_laws import ALL_LAWS

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")


def blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Yields line number, language and body of every fenced block."""
    for fence in FENCE.finditer(text):
        yield text[: fence.start()].count("\n") + 1, fence[1], fence[2]


def run(page: pathlib.Path) -> int:
    """Runs the Python blocks of a page in one namespace; returns how many ran."""
    namespace: dict[str, object] = {"__name__": page.stem}
    printed = None
    ran = 0
    for line, language, body in blocks(page.read_text(encoding="utf-8")):
        if language == "python":
            assert not printed, f"{page.name}:{line}: earlier output is not shown"
            # Blank lines in front, so that a traceback points into the page.
            code = compile("\n" * line + body, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, namespace)
            printed, ran = out.getvalue(), ran + 1
        elif language == "text":
            assert printed == body, f"{page.name}:{line}"
            printed = None
    assert not printed, f"{page.name}: output of the last block is not shown"
    return ran


@pytest.mark.oldest
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_blocks_run_and_print_what_the_page_shows(page: pathlib.Path) -> None:
    shown = page.read_text(encoding="utf-8").count("```python")
    assert run(page) == shown


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page: pathlib.Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\n1 / 0\n```\n", "division"),
        ("```python\nprint(1)\n```\n```text\n2\n```\n", "page.md:4"),
        ("```python\nprint(1)\n```\n", "not shown"),
        ("```python\nprint(1)\n```\n```python\n```\n", "not shown"),
    ],
)
def test_a_wrong_page_fails(text: str, message: str, tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises((AssertionError, ZeroDivisionError), match=message):
        run(page)


def test_reference_is_what_the_docstrings_say() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "reference" / "generate.py"))
    written = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    assert written == generator["page"](), "run `python docs/reference/generate.py`"


def test_every_law_is_explained() -> None:
    page = (ROOT / "docs" / "concepts" / "laws.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(\w+)`", page, re.MULTILINE)
    assert sorted(explained) == sorted(law.__name__ for law in ALL_LAWS)
