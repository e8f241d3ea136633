"""From a configuration to what it describes. Here jax is imported."""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from optaxctl.host.config._factories import Function, imported
from optaxctl.host.config._messages import hint
from optaxctl.host.config._rules import Rule, keys
from optaxctl.host.config._sections import SECTIONS, Settings
from optaxctl.host.config._yaml import ConfigError, Path, Problem, dotted

# What a value that no factory takes can raise.
_REFUSALS = (TypeError, ValueError, ArithmeticError)
# What `control` measures by itself.
_COMPUTED = {"loss", "grad_norm", "learning_rate", "step", "accepted"}
_PARTS = ("guard", "lr", "clipping", "early_stopping")
# What is checked without a file being made or a loop begun, and who takes it.
_COUNTS = {"training": "loop.epochs", "checkpointing": "checkpoint.Checkpoints"}


class Builder:
    """Builds the parts of a configuration, and gathers what cannot be built."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.problems: list[Problem] = []

    def note(self, path: Path, message: str) -> None:
        """Notes what is wrong, with its place."""
        place = self.settings.source.place(path)
        self.problems.append(Problem(place, dotted(path), message))

    def done(self) -> None:
        """Raises a `ConfigError` if anything was noted."""
        if self.problems:
            raise ConfigError(*self.problems)

    def all(self) -> None:
        """Builds all but the optimizer and files."""
        for name in ("snapshots", "recording", *_COUNTS):
            self._try(name)
        self.controller()
        self.rate()

    def each(self) -> None:
        """Builds the sections, whatever is wrong with those that are not there."""
        for name in SECTIONS:
            self._try(name)

    def _try(self, name: str) -> None:
        section = getattr(self.settings, name)
        if name not in _COUNTS or section is None:
            self.section(name)
            return
        checks = import_module("optaxctl._core.checks")
        for key, value in section.given().items():
            if isinstance(value, int):
                try:
                    checks.count(_COUNTS[name], **{key: value})
                except ValueError as error:
                    self.note((name, key), str(error))

    def section(self, name: str) -> Any:
        """Returns what a section describes, or None if it is off or has problems."""
        section = getattr(self.settings, name)
        return section and self._made(section, (name,))

    def controller(self) -> Any:
        """Returns all controllers in one, each under the name of its section."""
        parts = {name: self.section(name) for name in _PARTS}
        parts = {name: part for name, part in parts.items() if part is not None}
        if not parts and not self.problems:
            word = f"Nothing is left to control: {', '.join(_PARTS)} are all off."
            self.note((), word)
        if not parts:
            return None
        return import_module("optaxctl._core.controllers").together(**parts)

    def rate(self) -> Any:
        """Returns the learning rate, as a number or a schedule, or None."""
        schedule, rate = self.section("schedule"), self.settings.learning_rate
        if self.settings.schedule is None:
            return rate
        if rate is None:
            word = "gives a factor of `learning_rate`, and there is none."
            self.note(("schedule",), word)
        if schedule is None or rate is None:
            return None
        schedules = import_module("optaxctl.schedules")
        return schedules.times(schedules.constant(rate), schedule)

    def control(self, inner: Any) -> Any:
        """Returns the optimizer under the control that is described."""
        controller, around = self.controller(), self._inner(inner)
        snapshots, recording = self.section("snapshots"), self.section("recording")
        self.done()
        signals = tuple(recording.signals) if recording else ()
        observed = sorted(controller.signals - _COMPUTED - {*signals})
        views = import_module("optaxctl.views._control")
        try:
            return views.control(
                around,
                controller,
                observed=observed,
                record=signals,
                snapshots=snapshots,
            )
        except _REFUSALS as error:
            self.note(("recording", "signals") if signals else (), str(error))
        self.done()

    def _inner(self, inner: Any) -> Any:
        import optax

        injects = import_module("optaxctl.views._inject")
        if isinstance(inner, optax.GradientTransformation | injects.Injected):
            for name in ("learning_rate", "optimizer", "schedule"):
                if getattr(self.settings, name):
                    word = (
                        "acts only where `inner` is the function that makes the "
                        "optimizer, such as `optax.adamw`, not what it returns."
                    )
                    self.note((name,), word)
            return inner
        takes = inspect.signature(inner).parameters
        rate, others = self.rate(), dict(self.settings.optimizer)
        name = getattr(inner, "__name__", "the optimizer")
        free = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        for key in others if not free else ():
            if key not in takes:
                word = f"is no argument of `{name}`. It has {', '.join(takes)}."
                self.note(("optimizer", key), word + hint(key, takes))
        for key, p in takes.items():
            stars = p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
            optional = stars or p.default is not p.empty
            if key == "learning_rate":
                if rate is None and not optional and self.settings.schedule is None:
                    self.note((), f"`learning_rate` is missing; `{name}` needs it.")
            elif not optional and key not in others:
                self.note(("optimizer",), f"`{name}` needs `{key}`.")
        if rate is not None and "learning_rate" not in takes and not free:
            self.note(("learning_rate",), f"`{name}` takes none.")
        self.done()
        given = {} if rate is None else {"learning_rate": rate}
        return injects.inject(inner, **given, **others)

    def _made(self, rule: Rule, path: Path) -> Any:
        """Calls the factory of a rule; None if it, or a rule within, is refused."""
        before = len(self.problems)
        arguments: dict[str, Any] = {}
        spread: tuple[Any, ...] = ()
        known = {key.name: key for key in keys(type(rule))}
        for name, value in rule.given().items():
            made = self._value(value, (*path, name))
            if not known[name].spread:
                arguments[name] = made
            elif isinstance(made, Mapping):
                arguments |= made
            else:
                spread = tuple(made)
        if len(self.problems) > before:
            return None
        call = getattr(import_module(rule.factory.module), rule.factory.name)
        try:
            made = _controller(call(*spread, **arguments))
        except _REFUSALS as error:
            found = re.search(r"\((\w+)(?:\[[^=]*\])?=", str(error))
            where = (found[1],) if found and found[1] in known else ()
            self.note((*path, *where), str(error))
            return None
        custom = rule.group == "schedules" and rule.factory.name == "custom"
        if custom and callable(made):
            self._begin(made, rule.given()["function"], (*path, "function"))
        return made

    def _begin(self, schedule: Any, function: Function, path: Path) -> None:
        """Tries a schedule of the user's at a step, as a compiled step would."""
        import jax

        try:
            shape = jax.eval_shape(schedule, jax.ShapeDtypeStruct((), "int32")).shape
        except Exception as error:
            word = str(error).partition("\n")[0]
            told = f"it raised {type(error).__name__}: {word}"
        else:
            if not shape:
                return
            told = f"it returned an array of shape {shape}"
        self.note(
            path,
            f"`{function}` must turn a step, an int32 array, into a number by "
            f"jax.numpy; {told}",
        )

    def _value(self, value: Any, path: Path) -> Any:
        if isinstance(value, Rule):
            return self._made(value, path)
        if isinstance(value, Function):
            return self._function(value, path)
        if isinstance(value, Mapping):
            return {n: self._value(v, (*path, n)) for n, v in value.items()}
        if isinstance(value, tuple):
            return tuple(self._value(v, (*path, i)) for i, v in enumerate(value))
        return value

    def _function(self, value: Function, path: Path) -> Callable[..., Any] | None:
        try:
            return imported(value)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            self.note(path, f"`{value}` cannot be imported: {error}.")
        return None


def _controller(made: Any) -> Any:
    """Returns the controller that a factory of another shape leads to."""
    if isinstance(made, dict):  # `lr.like_torch` returns arguments
        return import_module("optaxctl.lr").plateau(**made)
    return getattr(made, "controller", made)  # `stop.early_stopping`
