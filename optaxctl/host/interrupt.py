"""Leave in good order when the machine is taken away."""

import signal
import threading
from types import FrameType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(SystemExit):
    """The run was asked to leave, and what it needs to go on is saved.

    Not caught, it ends the process with exit status 0, as a scheduler expects of one
    that did as it was told.
    """

    def __init__(self, message: str):
        super().__init__(0)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Interrupt:
    """Makes the first SIGTERM or SIGINT a wish to leave at the next step.

    Within the `with` block the first of these signals is noted and nothing else; from
    then on they do what they did before, so a second one ends the process at once. With
    several processes, under `jax.distributed`, they agree on the step at which all
    leave, and the signal is the SIGTERM that JAX itself listens for.

    Raises:
      ValueError: When entered outside of the main thread, where Python has no signals.

    Example:
      >>> import os, signal, optaxctl as octl
      >>> with octl.interrupt.Interrupt() as interrupt:
      ...     os.kill(os.getpid(), signal.SIGTERM)
      ...     print(interrupt.reached(step=7), interrupt.name)
      True SIGTERM
    """

    def __init__(self) -> None:
        self.name: str | None = None
        """The signal that came, or None."""
        self._before: dict[signal.Signals, Any] = {}

    def reached(self, step: int) -> bool:
        """Returns whether to leave after `step`; all processes ask in every step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.name is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError(
                "`Interrupt` must be entered in the main thread, which alone receives "
                "signals."
            )
        if jax.process_count() == 1:
            self._before = {s: signal.signal(s, self._noted) for s in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _noted(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)
        self._before = {}
