"""What a configuration says, and what it builds."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optaxctl.host.config._sections import Settings, fields, plain
from optaxctl.host.config._yaml import ConfigError, Problem, Source, dotted, dump

if TYPE_CHECKING:
    from optaxctl.views._control import Control


@dataclass(frozen=True)
class Config(Settings):
    r"""What a configuration says, checked; its methods build what it describes.

    Every section is a frozen dataclass with the arguments of its factory, or None where
    it is off or not there: `config.lr.updates`, `config.training.monitor`.

    Example:
      >>> import optax, optaxctl as octl
      >>> config = octl.config.parse("learning_rate: 1e-3\nlr: {type: plateau}")
      >>> config.lr.updates
      10
      >>> config.controller()
      together(guard=guard(), lr=lr.plateau())
      >>> tx = config.build(optax.adamw)
    """

    def build(self, inner: Any) -> "Control":
        """Returns an optimizer under the control that is described.

        Raises:
          ConfigError: With every value that no factory takes.
        """
        return _builder(self).control(inner)

    def controller(self) -> Any:
        """Returns all controllers in one, each under the name of its section.

        Raises:
          ConfigError: With every value that no factory takes.
        """
        return _made(self, lambda builder: builder.controller())

    def rate(self) -> Any:
        """Returns the learning rate, as a number or a schedule, or None.

        Raises:
          ConfigError: With every value that no schedule takes.
        """
        return _made(self, lambda builder: builder.rate())

    def check(self) -> None:
        """Builds all but the optimizer and files, to find values that nothing takes.

        Raises:
          ConfigError: With every one of them.
        """
        _made(self, lambda builder: builder.all())

    def loop(self) -> dict[str, Any]:
        """Returns what `training` says, as arguments of `octl.loop.epochs`."""
        return {} if self.training is None else self.training.given()

    def checkpoints(self) -> AbstractContextManager[Any]:
        """Returns the `Checkpoints` that are described, or a context of None."""
        if self.checkpointing is None:
            return nullcontext()
        return _made(self, lambda builder: builder.section("checkpointing"))

    def history(self, **more: Any) -> AbstractContextManager[Any]:
        """Returns the `History` that is described, or a context of None.

        It gets this configuration, and `more`, such as `resume=` and `sinks=`.

        Raises:
          UnknownRun: If there is no run `resume`.
        """
        recording, training = self.recording, self.training
        if recording is None:
            return nullcontext()
        from optaxctl.host.history import History

        said = {"name": recording.name, "config": self.as_dict()}
        if training is not None:
            said["modes"] = {training.monitor: training.mode}
        return History(recording.directory, **said | more)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values: what is not at its default, presets spelt out."""
        return plain(self)

    def as_yaml(self) -> str:
        """Returns them as YAML, which `parse` reads as an equal `Config`."""
        return dump(plain(self))


def checked(source: Source, problems: list[Problem], *, build: bool = False) -> Config:
    """Returns the configuration that plain values describe.

    Args:
      source: The values, and where each was written.
      problems: What is wrong already.
      build: Whether all but the optimizer is built, too.

    Raises:
      ConfigError: With all that is wrong. A section of a wrong type is not built, and
        does not keep the others from it.
    """
    found = list[Problem]()
    config = Config(**fields(source, found))
    if build:
        builder = _builder(config)
        builder.each() if problems or found else builder.all()
        found += builder.problems
    unread = {dotted(path) for path in source.unread}
    problems = [*problems, *(one for one in found if one.key not in unread)]
    if problems:
        raise ConfigError(*problems)
    return config


def _made(settings: Settings, make: Callable[[Any], Any]) -> Any:
    builder = _builder(settings)
    made = make(builder)
    builder.done()
    return made


def _builder(settings: Settings) -> Any:
    from optaxctl.host.config._build import Builder

    return Builder(settings)
