"""Mutated configurations: no traceback ever, every error has its place.

    python -m tests.fuzz.config --n 10000 [--seed 0] [--json]

Valid configurations are made from what the factories take, and damaged in their values,
in their text and by environment variables. Each is read; the error, if any, must name
a line of the file or a variable that there is. What is read must come back equal from
its own YAML, and every `--build`-th is built, with the same demands on the errors.
"""

import argparse
import random
import re
import string
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import optax

from optaxctl.host import config
from optaxctl.host.config import _aios, _trainner
from optaxctl.host.config._config import checked
from optaxctl.host.config._factories import Function, Key
from optaxctl.host.config._reading import _values
from optaxctl.host.config._rules import keys, nested, rule, types
from optaxctl.host.config._sections import SECTIONS
from optaxctl.host.config._yaml import dump, parse
from tests.bench._protocol import Report, progress
from tests.host.test_config_foreign import AIOS, TRAINNER

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 10**400, -0.0, 0.5, 1e-5, 1e300),
    *(float("inf"), float("nan"), "", "on", "off", "no", "1e-5", "~", "os:system"),
    *(
        "nowhere:function",
        "a" * 300,
        "\u2028",
        [],
        [[]],
        {},
        {"type": "auto"},
        [1, "a"],
    ),
)
TOKENS = (
    *("*a", "&a ", "!!python/object/apply:os.system ['exit']", "!!int x", "<<: ", "? "),
    *("- ", ": ", ":", "#", "---\n", "...", "\t", "\x00", "\x85", "\ud7ff", "[", "]"),
    *("{", "}", "'", '"', "|", ">", "%", "@", "`", "\r\n", "\n", "on", "1e-5", "010"),
    *(
        "0x1G",
        "1:30",
        "1_000",
        ".inf",
        "9" * 5000,
        "[" * 2000,
        "{a: " * 300,
        "- " * 900,
    ),
)


def valid(draw: random.Random) -> dict[str, Any]:
    """Makes a configuration whose keys and types are right; its values may not be."""
    data: dict[str, Any] = {}
    if draw.random() < 0.3:
        data["preset"] = draw.choice(config.PRESETS)
    if draw.random() < 0.5:
        data["learning_rate"] = draw.choice([1, 0.1, 3e-4])
    for name in draw.sample(sorted(SECTIONS), draw.randint(0, 4)):
        group = SECTIONS[name]
        data[name] = section(draw, group, draw.choice(sorted(types(group))))
    return data


def section(draw: random.Random, group: str, kind: str, depth: int = 0) -> Any:
    made: dict[str, Any] = {"type": kind} if len(types(group)) > 1 else {}
    for key in keys(rule(group, kind)):
        if key.required or draw.random() < 0.3:
            made[key.name] = value(draw, group, key, depth)
    return made


def value(draw: random.Random, group: str, key: Key, depth: int) -> Any:
    if not key.nested:
        return plain_value(draw, key.type)
    inner = nested(group, key)
    flat = [t for t in types(inner) if not any(k.nested for k in keys(rule(inner, t)))]
    kinds = draw.choices(flat if depth else [*types(inner)], k=2)
    one, other = (section(draw, inner, kind, depth + 1) for kind in kinds)
    made = {"one": one, "list": [one, other], "names": {"a": one, "b": other}}
    return made[key.nested]


def plain_value(draw: random.Random, kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return draw.choice(inner)
    if origin is tuple:
        return [plain_value(draw, inner[0]) for _ in range(draw.randint(0, 3))]
    if origin is dict:
        return {"window": 4}
    if inner:
        return plain_value(draw, draw.choice(inner))
    return {
        bool: draw.random() < 0.5,
        float: draw.choice([0.1, 0.5, 0.9, 1.5, 2.0, 10.0]),
        int: draw.choice([1, 2, 5, 100]),
        str: draw.choice(["loss", "val_loss", "grad_norm", "on", "1e5", "null"]),
        Function: "math:sqrt",
    }.get(kind)


def damaged(draw: random.Random, data: Any) -> Any:
    """Puts an odd value, or a wrong key, somewhere into plain values."""
    if isinstance(data, Mapping) and data and draw.random() < 0.8:
        copy = dict(data)
        name = draw.choice(list(copy))
        if draw.random() < 0.2:
            wrong = name[:-1] + draw.choice(string.printable)
            copy[wrong] = copy.pop(name)
        else:
            copy[name] = damaged(draw, copy[name])
        return copy
    return draw.choice(ODD)


def scratched(draw: random.Random, text: str) -> str:
    """Deletes, doubles, swaps or inserts a piece of a text."""
    at, end = sorted(draw.randint(0, len(text)) for _ in range(2))
    end = min(end, at + draw.choice([1, 3, 40]))
    match draw.randrange(4):
        case 0:
            return text[:at] + text[end:]
        case 1:
            return text[:end] + text[at:]
        case 2:
            lines = text.split("\n")
            draw.shuffle(lines)
            return "\n".join(lines)
    return text[:at] + draw.choice(TOKENS) + text[at:]


def variables(draw: random.Random, data: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for _ in range(draw.choice([0, 0, 0, 1, 2])):
        path = [draw.choice([*data, *SECTIONS, "preset", "nothing", ""])]
        if draw.random() < 0.8:
            inner = data.get(path[0])
            known = [*inner] if isinstance(inner, Mapping) else []
            path.append(draw.choice([*known, "type", "updates", "patience", "", "x"]))
        if draw.random() < 0.1:
            path.append("deeper")
        text = draw.choice(["20", "1e-5", "x", *TOKENS, *map(str, ODD)])
        found["OPTAXCTL_" + "__".join(path).upper()] = text
    return found


def case(draw: random.Random) -> tuple[str, dict[str, str]]:
    """Makes one file and environment."""
    data = valid(draw)
    if draw.random() < 0.4:
        data = damaged(draw, data)
    text = dump(data) if isinstance(data, Mapping) else repr(data)
    if draw.random() < 0.4:
        for _ in range(draw.randint(1, 3)):
            text = scratched(draw, text)
    return text, variables(draw, data if isinstance(data, Mapping) else {})


def misplaced(
    error: config.ConfigError, text: str, environ: Mapping[str, str]
) -> list[str]:
    """Returns the problems that do not say where they are, or not what is wrong."""
    # A carriage return, too, ends a line of YAML.
    lines = len(re.split("\r\n|[\r\n\x85\u2028\u2029]", text))
    wrong = []
    for problem in error.problems:
        file = re.fullmatch(r"run\.yaml(?::(\d+))?", problem.place)
        known = problem.place[1:] in environ if problem.place[:1] == "$" else False
        there = file and (file[1] is None or 1 <= int(file[1]) <= lines)
        if not (known or there) or len(problem.message) < 10:
            wrong.append(f"{problem!r}")
    return wrong if error.problems else ["no problem"]


def parsed(text: str, environ: Mapping[str, str], *, thorough: bool) -> config.Config:
    """Reads one case; where it is refused, `thorough` builds what is right in it."""
    try:
        return config.parse(text, name="run.yaml", environ=environ)
    except config.ConfigError:
        if thorough:
            checked(*_values(text, "run.yaml", environ, {}), build=True)
        raise


def outcome(text: str, environ: Mapping[str, str], build: str = "") -> str:
    """Reads one case; returns what happened: read, built, refused, or a failure."""
    try:
        read = parsed(text, environ, thorough=bool(build))
        again = config.parse(read.as_yaml())
        if repr(again) != repr(read):
            return f"FAILED: it comes back as {again!r}, and was {read!r}"
        if build:
            read.check()
            if build == "whole":
                read.build(optax.adamw)
            return "built"
    except config.ConfigError as error:
        wrong = misplaced(error, text, environ)
        return f"FAILED: {wrong}" if wrong else "refused"
    except Exception as error:
        return f"FAILED: {type(error).__name__}: {error!s:.300}"
    return "read"


def foreign(draw: random.Random) -> str:
    """Reads a damaged file of another library; returns what happened."""
    library = draw.choice(["trainner", "aios"])
    block = {"enabled": True, **TRAINNER}
    whole = {"train": {"training_automations": block}, "val": {"val_freq": 100}}
    data = whole if library == "trainner" else {"adaptive_lr": AIOS}
    for _ in range(draw.randint(1, 4)):
        data = damaged(draw, data)
    text = dump(data) if isinstance(data, Mapping) else repr(data)
    source, problems = parse(text, "run.yaml")
    try:
        if problems:
            raise config.ConfigError(*problems)
        read = {"trainner": _trainner.read, "aios": _aios.read}[library](source)
        if any(len(row.words) < 5 for row in read.rows) or not str(read):
            return f"FAILED: {read.rows}\n{text}"
        read.config()
    except config.ConfigError as error:
        wrong = misplaced(error, text, {})
        return f"FAILED: {wrong}\n{text}" if wrong else "foreign, refused"
    except Exception as error:
        return f"FAILED: {type(error).__name__}: {error!s:.300}\n{text}"
    return "foreign, read"


def run(n: int, seed: int, every: int) -> tuple[Counter[str], list[str]]:
    """Reads `n` cases; returns how many ended how, and the failures."""
    ends: Counter[str] = Counter()
    failures = []
    for i in range(n):
        draw = random.Random(f"{seed}/{i}")
        text, environ = case(draw)
        build = "" if i % every else draw.choice(["parts", "parts", "parts", "whole"])
        end = outcome(text, environ, build)
        if i % 10 == 9:
            text, environ, end = "", {}, foreign(draw)
        ends[end.partition(":")[0]] += 1
        if end.startswith("FAILED"):
            failures.append(f"case {i}: {end}\n{text!r:.2000}\n{environ!r:.500}")
    return ends, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", type=int, default=5, metavar="EVERY")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ends, failures = run(options.n, options.seed, options.build)
    for failure in failures[:10]:
        progress(failure)
    report = Report("fuzz.config")
    report.table("cases", [{"end": end, "cases": n} for end, n in ends.items()])
    report.bound("failures", len(failures), 0, "cases")
    return report.finish(as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
