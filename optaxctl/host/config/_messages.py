"""The sentences in which a configuration is refused."""

from collections.abc import Iterable, Mapping
from typing import Any

from optaxctl._core.closest import did_you_mean
from optaxctl.host.config._factories import Key
from optaxctl.host.config._yaml import Path

_WORDS = {
    "bool_type": "true or false",
    "dict_type": "keys and values",
    "float_type": "a number",
    "int_type": "a whole number",
    "none_required": "null",
    "string_pattern_mismatch": "a function, written as `module:function`",
    "string_type": "text",
    "tuple_type": "a list",
}


def sentences(
    error: Any, known: Mapping[str, Key], who: str
) -> Iterable[tuple[Path, str]]:
    """Turns what pydantic found into sentences, one for each key."""
    expected: dict[Path, list[str]] = {}
    inputs = {}
    for found in error.errors(include_url=False):
        # What follows the key are names of the members of a union.
        name, *rest = found["loc"]
        loc = (name, *(r for r in rest if isinstance(r, int)))
        if found["type"] == "missing":
            meaning = known[name].meaning
            yield (name,), f"is required: {meaning}"
        elif found["type"] == "unexpected_keyword_argument":
            taken = f"It has {', '.join(known)}." if known else "It has none."
            word = f"is no key of {who}. {taken}"
            yield loc, word + hint(name, known)
        else:
            inputs[loc] = found["input"]
            words = expected.setdefault(loc, [])
            word = _WORDS.get(found["type"], "")
            if found["type"] == "literal_error":
                word = found["ctx"]["expected"]
            words.append(word or found["msg"])
    for loc, words in expected.items():
        value = inputs[loc]
        message = f"must be {' or '.join(dict.fromkeys(words))}, got {shown(value)}."
        yield loc, message + _advice(value, words)


_SWITCHES = {"on": "true", "yes": "true", "off": "false", "no": "false"}


def _advice(value: Any, words: list[str]) -> str:
    if not isinstance(value, str):
        return ""
    if "true or false" in words and (advice := switch(value)):
        return advice
    names = [
        w.strip("'") for word in words for w in word.replace(" or ", ", ").split(", ")
    ]
    return hint(value, [name for name in names if name.isidentifier()])


def switch(value: Any) -> str:
    """Returns what to write instead of a word that YAML 1.1 took for a truth value."""
    word = _SWITCHES.get(value.lower()) if isinstance(value, str) else None
    return f" In YAML 1.2 that is text; write `{word}`." if word else ""


def shown(value: Any) -> str:
    """Returns a value as a message shows it, cut where it is long."""
    try:
        text = "null" if value is None else repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "a very long number"
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(words: Iterable[str]) -> str:
    """Returns `a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def hint(name: Any, known: Iterable[str]) -> str:
    """Returns ` Did you mean ...?` for the closest known name, or nothing."""
    return did_you_mean(str(name)[:80], known)
