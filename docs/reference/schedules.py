"""Writes schedules.md and its pictures from the registry of the tests.

Run `PYTHONPATH=. python docs/reference/schedules.py` after changing a schedule, its
docstring or its example.
"""

import ast
import inspect
import io
import pathlib
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl

import optaxctl as octl
from optaxctl.schedules._peers import PEERS
from tests.schedules._entry import Body, make
from tests.schedules.registry import REGISTRY

PAGE = pathlib.Path(__file__).with_suffix(".md")
PICTURES = pathlib.Path(__file__).with_suffix("")
STEPS = 100
REFRAIN = " A negative step counts as 0."  # Said once, in the head.
LIBRARIES = {
    "torch": "torch",
    "keras": "Keras",
    "transformers": "Transformers",
    "timm": "timm",
    "fastai": "fastai",
    "optax": "Optax",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "optaxctl",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
}

HEAD = """# Schedules

A schedule is a function of the optimizer step, an int32, to a float32, and goes
wherever Optax takes one. Most begin or peak at 1, which makes them factors for
`octl.lr.follow`; with `init_value`, `peak_value` and the like in units of a rate they
are rates. A negative step counts as 0. Every argument is in
`help(octl.schedules.cosine)`, and how to combine them in
[the guide](../guides/schedules.md). This page is written by `schedules.py` beside it;
each picture shows the call above it.

```python
import optaxctl as octl
```

## Names elsewhere

`octl.schedules.get("CosineAnnealingLR", T_max=80)` makes a schedule of torch's name and
arguments. Given a name from another column it says which one is meant.

"""


def page() -> str:
    """Returns the text of schedules.md."""
    rows = [["", *LIBRARIES.values()], ["---"] * (1 + len(LIBRARIES))]
    rows += [_peers(name) for name in REGISTRY]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return HEAD + table + "".join(_section(name) for name in REGISTRY)


def picture(name: str) -> str:
    """Returns the SVG of a schedule's example, with some values in words."""
    about = {"Date": None, "Title": name, "Description": _described(values(name))}
    file = io.StringIO()
    with mpl.rc_context(STYLE):
        figure = octl.report.schedule(make(name, REGISTRY[name].arguments), STEPS)
        figure.set_size_inches(5, 2.2)
        # The same for all, so that they can be compared.
        figure.axes[0].set(ylim=(0, 1.02), yticks=[0, 0.5, 1])
        figure.savefig(file, format="svg", metadata=about)
    return re.sub(r"[ \t]+$", "", file.getvalue(), flags=re.MULTILINE)


def call(name: str) -> str:
    """Returns a schedule's example as Python."""
    return _call(name, REGISTRY[name].arguments)


def values(name: str) -> dict[int, float]:
    """Returns what a schedule's example is now at every tenth step."""
    course = make(name, REGISTRY[name].arguments)
    return {step: float(course(step)) for step in range(0, STEPS + 1, 10)}


def shown(picture: str) -> dict[int, float]:
    """Returns the values that a picture says it shows."""
    (text,) = re.findall("<dc:description>(.*)</dc:description>", picture)
    return {int(s): float(v) for v, s in re.findall(r"(\S+) at (\d+)", text)}


def _described(values: Mapping[int, float]) -> str:
    at = ", ".join(f"{value:.4g} at {step}" for step, value in values.items())
    return f"Value by step: {at}."


def _peers(name: str) -> list[str]:
    peers = PEERS.get(name, {})
    return [f"[`{name}`](#{name})", *(_code(peers.get(n, "")) for n in LIBRARIES)]


def _code(names: str) -> str:
    """Marks names as code, and leaves the remark in brackets after one."""
    return re.sub(r"(?:^|(?<=, ))\w+", r"`\g<0>`", names)


def _section(name: str) -> str:
    doc = inspect.getdoc(getattr(octl.schedules, name)) or ""
    text = "\n\n".join(_blocks(doc.partition("\nArgs:")[0]))
    return (
        f"\n## {name}\n\n{text}\n\n"
        f"```python\n{call(name)}\n```\n\n"
        f"![{name} over {STEPS} steps]({PICTURES.name}/{name}.svg)\n"
    )


def _blocks(text: str) -> Iterator[str]:
    """Yields the paragraphs of a docstring, equations as code."""
    for block in text.strip("\n").split("\n\n"):
        if block.startswith("    "):
            yield f"```\n{textwrap.dedent(block)}\n```"
        elif prose := f" {' '.join(block.split())}".replace(REFRAIN, "").strip():
            yield prose


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    parts = []
    for key, parameter in _parameters(name).items():
        if key not in arguments:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            parts += map(_written, arguments[key])
        elif parameter.kind is parameter.KEYWORD_ONLY:
            parts.append(f"{key}={_written(arguments[key])}")
        else:
            parts.append(_written(arguments[key]))
    return _bracketed(f"octl.schedules.{name}(", parts, ")")


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(getattr(octl.schedules, name)).parameters


def _written(value: Any) -> str:
    if isinstance(value, Body):
        return _call(value.name, value.arguments)
    if isinstance(value, list):
        return _bracketed("[", [_written(one) for one in value], "]")
    return _source(value) if callable(value) else repr(value)


def _bracketed(head: str, parts: Sequence[str], tail: str) -> str:
    line = f"{head}{', '.join(parts)}{tail}"
    if len(line) <= 80:
        return line
    return head + textwrap.indent("\n" + ",\n".join(parts) + ",", "    ") + f"\n{tail}"


def _source(function: Any) -> str:
    """Returns the text of a lambda, the only one on its line."""
    file = pathlib.Path(inspect.getfile(function)).read_text(encoding="utf-8")
    line = function.__code__.co_firstlineno
    nodes = [node for node in ast.walk(ast.parse(file)) if isinstance(node, ast.Lambda)]
    (found,) = [node for node in nodes if node.lineno == line]
    return ast.unparse(found)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for file in PICTURES.glob("*.svg"):
        file.unlink()
    for name in REGISTRY:
        (PICTURES / f"{name}.svg").write_text(picture(name), encoding="utf-8")
