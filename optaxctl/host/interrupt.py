"""Leave in good order when the machine is taken away."""

import ctypes
import signal
import threading
from types import FrameType
from typing import Any, Self

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Python does not know the handlers that C++ installed, as JAX does for SIGTERM, so
# `signal` alone would not put them back.
_native = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int)(
    ("PyOS_getsig", ctypes.pythonapi)
)
_set_native = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(
    ("PyOS_setsig", ctypes.pythonapi)
)


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
    then on Python does what it did before. A second SIGTERM ends the process at once. A
    second SIGINT raises `KeyboardInterrupt` as ever, so what is left on its way is
    closed: `Checkpoints` waits for the save under way. Each block begins anew.

    With several processes, a signal to any of them makes all leave at the same step.
    They agree by JAX's preemption service, which looks once a second, so the step comes
    a second or two after the signal. That service listens for SIGTERM itself from
    `jax.distributed.initialize` on; it hears of either signal from here, and it listens
    again after the block. Enter it after `jax.distributed.initialize`.

    Raises:
      ValueError: When entered outside of the main thread, where Python has no signals.

    Example:
      >>> import signal, optaxctl as octl
      >>> with octl.interrupt.Interrupt() as interrupt:
      ...     signal.raise_signal(signal.SIGTERM)
      ...     print(interrupt.reached(step=7), interrupt.name)
      True SIGTERM
    """

    def __init__(self) -> None:
        self.name: str | None = None
        """The signal that came to this process in the last block, or None."""
        self._before: dict[signal.Signals, tuple[Any, Any]] = {}
        self._told = False

    def reached(self, step: int) -> bool:
        """Returns whether to leave after `step`; all processes ask in every step.

        Args:
          step: Steps so far; with several processes the same in all of them, and one
            more with every call.

        Raises:
          RuntimeError: With several processes, if JAX's preemption service is disabled.
        """
        if jax.process_count() == 1:
            return self.name is not None
        reached = multihost_utils.reached_preemption_sync_point(step)
        # Not earlier: JAX takes the next step that it has not been asked about, which
        # in a run that was resumed would be one that is long gone.
        if self.name is not None and not self._told:
            self._tell()
        return reached

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError(
                "`Interrupt` must be entered in the main thread, which alone receives "
                "signals."
            )
        self.name, self._told = None, False
        # JAX refuses `jax.distributed.initialize`, which would take SIGTERM, from here.
        jax.process_count()
        self._before = {s: (signal.getsignal(s), _native(s)) for s in SIGNALS}
        for which in SIGNALS:
            signal.signal(which, self._noted)
        return self

    def __exit__(self, *error: object) -> None:
        for which, (_, native) in self._before.items():
            if signal.getsignal(which) == self._noted:  # not one of somebody else
                self._release(which)
                _set_native(which, native)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.name = signal.Signals(number).name
        for which in self._before:
            self._release(which)

    def _tell(self) -> None:
        """Lets JAX hear of the signal, so that it tells the other processes."""
        self._told = True
        _set_native(signal.SIGTERM, self._before[signal.SIGTERM][1])
        signal.raise_signal(signal.SIGTERM)
        self._release(signal.SIGTERM)

    def _release(self, which: signal.Signals) -> None:
        signal.signal(which, self._before[which][0] or signal.SIG_DFL)
