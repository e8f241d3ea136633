"""Go back to a checkpoint when a controller asks to, and say so."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from optaxctl._core.flags import ABOUT_CONTROL, Alarm, Severity, sentences, severity
from optaxctl.host._aside import INTERIM
from optaxctl.views._read import Reading
from optaxctl.views._state import ControlState, states


@dataclass(frozen=True)
class Rewind:
    """How a loop went back to a checkpoint because a controller asked to rewind.

    Attributes:
      step: The step after which the loop saw that it was asked.
      to: The step of the checkpoint that it went back to. What the steps since then
        have learnt is lost, and their batches are skipped.
      alarms: Names of the alarms in between.
      tries: Times that it went back in a row, with no healthy checkpoint in between.
      gave_up: Whether these were too many, so that the run ends.
      directory: Where the checkpoints are.
    """

    step: int
    to: int
    alarms: tuple[str, ...]
    tries: int
    gave_up: bool
    directory: str = field(compare=False)

    def __str__(self) -> str:
        known = [
            Alarm[n.upper()] for n in self.alarms if n.upper() in Alarm.__members__
        ]
        why = [s for alarm in known for s in sentences(Alarm, alarm)]
        window = f"the batches of steps {self.to + 1:,} to {self.step:,} are skipped"
        if not self.gave_up:
            back = f"Went back from step {self.step:,} to step {self.to:,}"
            return " ".join([*why, f"{back}; {window}."])
        return " ".join(
            [
                *why,
                f"Giving up at step {self.step:,}: a controller asked to rewind "
                f"{self.tries:,} times in a row, and going back did not help. The run "
                f"ends with the healthy state of step {self.to:,} from "
                f"{self.directory}; {window}. To train on from it, change what led "
                f"here and delete {self.directory}/{INTERIM}.",
            ]
        )


def asked(carry: Any, reading: Reading) -> int:
    """Returns how many rewinds were asked for that no step has carried out itself."""
    return sum(int(np.sum(r.rewinds)) for r in _left_to_the_loop(carry, reading))


def critical(reading: Reading) -> set[str]:
    """Returns the names of the critical alarms that are up, and of worse ones."""
    return {
        n for n in _named("alarms", reading) if severity(_bit(n)) >= Severity.CRITICAL
    }


def is_healthy(carry: Any, reading: Reading) -> bool:
    """Whether the loop can come back here: nothing is wrong, and no try in progress."""
    trying = any("on_probation" in r.alarms for r in _left_to_the_loop(carry, reading))
    return not critical(reading) and not trying


def raised(since: Reading, now: Reading) -> tuple[str, ...]:
    """Returns the alarms that rose for the first time since then, or are up now."""
    new = _named("alarms_so_far", now) - _named("alarms_so_far", since)
    about = int(ABOUT_CONTROL | Alarm.ON_PROBATION)
    names = new | _named("alarms", now)
    return tuple(sorted((n for n in names if not _bit(n) & about), key=_bit))


def keep_control(now: Any, arrays: Iterable[Any]) -> Any:
    """Returns `now` with the control states that hold these arrays.

    A control with snapshots stays as it is: what it keeps refers to them.

    Args:
      now: A tree with control states; in variables of NNX they are written in place.
      arrays: What `ControlState.arrays` returns, of each in the order of `states`.
    """
    rest = iter(arrays)

    def visit(state: Any) -> Any:
        if not _is_state(state):
            return state
        # Where what came back lies, lest the step be compiled for a mixture.
        pairs = zip(next(rest), state.arrays(), strict=True)
        f32, i32 = (jax.device_put(kept, like.sharding) for kept, like in pairs)
        inner = jax.tree.map(visit, state.inner, is_leaf=_is_state)
        if state.snapshots is not None:
            return state._replace(inner=inner)
        if not hasattr(state.f32, "set_value"):
            return state._replace(f32=f32, i32=i32, inner=inner)
        state.f32.set_value(f32)
        state.i32.set_value(i32)
        return state

    mapped = jax.tree.map(visit, now, is_leaf=_is_state)
    in_place = any(hasattr(state.f32, "set_value") for state in states(now))
    return now if in_place else mapped


def _left_to_the_loop(carry: Any, reading: Reading) -> list[Reading]:
    """Returns the readings of every control that has no snapshots to go back to."""
    pairs = zip(states(carry), reading.groups or (reading,), strict=True)
    return [r for state, r in pairs if state.snapshots is None]


def _named(attribute: str, reading: Reading) -> set[str]:
    readings = reading.groups or (reading,)
    return {name for r in readings for name in getattr(r, attribute)}


def _bit(name: str) -> int:
    """Returns the alarm of that name; 0 for users' own, which are warnings."""
    return int(Alarm.__members__.get(name.upper(), 0))


def _is_state(x: Any) -> bool:
    return isinstance(x, ControlState)
