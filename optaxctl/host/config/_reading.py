"""Read a configuration, from a file, a text or plain values."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optaxctl.host.config import _aios, _trainner
from optaxctl.host.config._config import Config, checked
from optaxctl.host.config._foreign import Foreign
from optaxctl.host.config._sections import overridden
from optaxctl.host.config._yaml import ConfigError, Problem, Source, parse as parsed

if TYPE_CHECKING:
    from optaxctl.views._control import Control


def parse(
    source: str | Mapping[str, Any],
    *,
    name: str = "config",
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """Checks a configuration, given as YAML or as plain values.

    YAML is read as version 1.2 has it: `1e-5` is a number, `on` is text, `010` is ten.
    A key that is there twice, an alias and a tag are refused.

    Args:
      source: YAML, or what it would be read as.
      name: What problems call it.
      environ: Variables such as `OPTAXCTL_EARLY_STOPPING__PATIENCE=20`, which go over
        the file; none by default. Two underscores lead into a section. One that starts
        with `OPTAXCTL_` and leads to no key is a problem.
      overrides: Values over those, as YAML, by keys such as `lr.updates`.

    Returns:
      A `Config`. Whether a factory takes the values is known once it is built.

    Raises:
      ConfigError: If anything is wrong, with all of it and where it stands.
      MissingExtra: If pydantic or PyYAML is not installed.

    Example:
      >>> import optaxctl as octl
      >>> octl.config.parse("lr: plateau", overrides={"lr.updates": "3"}).lr.updates
      3
      >>> try:
      ...     octl.config.parse("learning_rate: x", name="run.yaml")
      ... except octl.config.ConfigError as error:
      ...     print(error)
      run.yaml:1: learning_rate: must be a number > 0 and finite in float32, got 'x'.
    """
    return checked(*_values(source, name, environ or {}, overrides or {}))


def read(
    path: str | Path,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """Reads and checks a file.

    Args:
      path: The file, in UTF-8.
      environ: As in `parse`; those of the process by default.
      overrides: As in `parse`.

    Returns:
      A `Config`.

    Raises:
      ConfigError: As in `parse`, and if the file cannot be read.

    Example:
      >>> import pathlib, tempfile, optaxctl as octl
      >>> path = pathlib.Path(tempfile.mkdtemp(), "run.yaml")
      >>> _ = path.write_text("preset: balanced")
      >>> octl.config.read(path, overrides={"lr.window": "20"}).lr.window
      20
    """
    text = _text(path)
    variables = os.environ if environ is None else environ
    return parse(text, name=str(path), environ=variables, overrides=overrides)


def verified(path: str | Path, overrides: Mapping[str, str] | None = None) -> Config:
    """Reads and checks a file, and builds all but the optimizer, as `Config.check`.

    Raises:
      ConfigError: With the problems of both at once.
    """
    values = _values(_text(path), str(path), os.environ, overrides or {})
    return checked(*values, build=True)


def from_config(
    path: str | Path,
    inner: Any,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> "Control":
    r"""Puts an optimizer under the control that a file describes.

    `octl.config.read(path).build(inner)`. Keep the `Config` for what else it says: the
    arguments of the loop, and where checkpoints go.

    Args:
      path: The file, in UTF-8.
      inner: The function that makes the optimizer, such as `optax.adamw`; it gets the
        learning rate, and what is under `optimizer`. Or a ready-made optimizer, with
        neither in the file.
      environ: As in `octl.config.parse`; those of the process by default.
      overrides: As in `octl.config.parse`.

    Returns:
      What `control` returns. Signals that the controllers read, and that `control` does
      not measure, are to be handed over by `observe`, but for those under
      `recording: signals`, which each step gives to `update`.

    Raises:
      ConfigError: If anything is wrong, with all of it and where it stands.

    Example:
      >>> import pathlib, tempfile, jax.numpy as jnp, optax, optaxctl as octl
      >>> path = pathlib.Path(tempfile.mkdtemp(), "run.yaml")
      >>> _ = path.write_text("preset: conservative\nlearning_rate: 1e-3")
      >>> tx = octl.from_config(path, optax.adamw, environ={})
      >>> round(octl.read(tx.init(jnp.ones(2))).learning_rate, 6)
      0.001
    """
    return read(path, environ=environ, overrides=overrides).build(inner)


def foreign(path: str | Path, library: Literal["trainner", "aios"]) -> Foreign:
    """Reads another library's file and says of each key what it is here.

    `"trainner"` reads the block `training_automations:` of traiNNer-redux, at the top
    or in `train:`, under the names of its classes or in snake_case. `"aios"` reads the
    block `adaptive_lr:` of AI-OS, or its keys at the top, as YAML or JSON.

    Args:
      path: The file, in UTF-8.
      library: Whose it is.

    Returns:
      A `Foreign`: a row per key, used, converted or refused, and the values of ours.

    Raises:
      ConfigError: If the file cannot be read, or has no such block.
      ValueError: If `library` is neither.

    Example:
      >>> import pathlib, tempfile, optaxctl as octl
      >>> path = pathlib.Path(tempfile.mkdtemp(), "aios.yaml")
      >>> _ = path.write_text("adaptive_lr: {increase_factor: 1.1, debug_level: 2}")
      >>> read = octl.config.foreign(path, "aios")
      >>> [(row.key, row.verdict) for row in read.rows]
      [('adaptive_lr.increase_factor', 'used'), ('adaptive_lr.debug_level', 'refused')]
      >>> read.config().lr.increase
      1.1
    """
    if library not in _LIBRARIES:
        known = " or ".join(map(repr, _LIBRARIES))
        raise ValueError(f"`config.foreign(library=...)` must be {known}.")
    source, problems = parsed(_text(path), str(path))
    if problems:
        raise ConfigError(*problems)
    return _LIBRARIES[library](source)


_LIBRARIES = {"trainner": _trainner.read, "aios": _aios.read}


def _values(
    source: str | Mapping[str, Any],
    name: str,
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
) -> tuple[Source, list[Problem]]:
    text = isinstance(source, str)
    read, wrong = parsed(source, name) if text else (_plain(source, name), [])
    over, more = overridden(read, environ, overrides)
    return over, [*wrong, *more]


def _plain(values: Mapping[str, Any], name: str) -> Source:
    return Source({str(key): value for key, value in values.items()}, {(): name})


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = Problem(f"{path}:{line}", "", "The file is not UTF-8.")
    except OSError as error:
        word = f"The file cannot be read: {error.strerror or error}."
        problem = Problem(str(path), "", word)
    raise ConfigError(problem)
