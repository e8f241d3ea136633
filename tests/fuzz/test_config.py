"""The short form of `python -m tests.fuzz.config`, and that it can fail."""

from typing import Any

import pytest

from optaxctl.host import config
from tests.fuzz.config import outcome, run


def test_no_traceback_and_every_error_has_its_place() -> None:
    ends, failures = run(300, seed=1, every=20)
    assert not failures, failures[0]
    assert min(ends["read"] + ends["built"], ends["refused"]) > 50


@pytest.mark.parametrize(
    "raised",
    [
        KeyError("x"),
        config.ConfigError(),
        config.ConfigError(config.Problem("run.yaml:9", "lr", "A long sentence.")),
        config.ConfigError(config.Problem("$HOME", "lr", "A long sentence.")),
        config.ConfigError(config.Problem("run.yaml", "lr", "No.")),
    ],
    ids=repr,
)
def test_what_it_looks_for_is_a_failure(raised: Any, monkeypatch: Any) -> None:
    def parse(*args: Any, **kwargs: Any) -> Any:
        raise raised

    monkeypatch.setattr(config, "parse", parse)
    assert outcome("lr: plateau\n", {}).startswith("FAILED")
