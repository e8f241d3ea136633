"""One turn of the loop: measure the step, ask the controller, say what to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core.controllers import Controller, read
from optaxctl._core.decisions import Decision
from optaxctl._core.flags import ABOUT_CONTROL, Alarm
from optaxctl._core.types import F32, I32, Flag
from optaxctl.views._inject import Injected
from optaxctl.views._signals import gradient_norm, handed_over
from optaxctl.views._snapshots import Health, Snapshots
from optaxctl.views._state import (
    Content,
    Hyperparameter,
    asked,
    counted,
    initial,
    invalid,
    landed,
)


class Orders(NamedTuple):
    """What the optimizer is to do in this step."""

    ok: Flag  # false: refuse the step
    clip: F32  # factor for the gradients
    scale: F32  # factor for the updates
    hyperparams: dict[str, F32]  # in force, scales and knobs included
    back: Flag  # go back to the snapshot in slot `newest`
    landing: Flag  # only set the parameters: the step before has gone back
    newest: I32


@dataclass(frozen=True)
class Loop:
    """The controller and how it sees the step; everything here is static.

    Attributes:
      controller: What decides, its observed parts held.
      observed: Names of the signals that arrive by `observe`.
      record: Names of signals to keep beside those that the controller reads.
      injected: The owner of the hyper-parameters, if it is control.
      rate: The schedule of a ready-made optimizer, if it was given.
      axis_name: The mesh axis over which to reduce, if any.
      snapshots: When to take them, if at all.
    """

    controller: Controller
    observed: tuple[str, ...]
    record: tuple[str, ...]
    injected: Injected | None
    rate: Callable[[Any], Any] | None
    axis_name: str | None
    snapshots: Snapshots | None

    @property
    def measured(self) -> list[str]:
        """Names of the signals to keep from every step."""
        steps = self.controller.signals - {"step", "accepted", *self.observed}
        rate = {"learning_rate"} if self.rate else set()
        return sorted({"grad_norm", *steps, *self.record, *rate})

    def start(self) -> Content:
        """Returns the content before the first step."""
        rules = self._rules(jnp.zeros((), jnp.int32))
        content = initial(
            self.controller,
            measured=self.measured,
            observed=self.observed,
            hyperparams={n: jnp.where(jnp.isfinite(v), v, 0) for n, v in rules.items()},
            snapshots=self.snapshots,
        )
        known = self._known_rate(content) if "learning_rate" in self.measured else {}
        return content._replace(signals={**content.signals, **known})

    def turn(
        self,
        updates: Any,
        content: Content,
        extra: Mapping[str, Any],
        file: Callable[[Flag, I32], Flag],
    ) -> tuple[Orders, Content]:
        """Measures, asks and counts one step.

        `file` takes a snapshot, if told to, in a slot, and tells whether it is broken.
        """
        given = handed_over(extra, self.axis_name)
        if clash := sorted(given.keys() & set(self.observed)):
            raise TypeError(
                f"`{clash[0]}` is declared as observed and was handed to `update` too. "
                "Take it out of `observed`, or hand it over by `observe` only."
            )
        owned, broken = self._owned(content)
        content = content._replace(hyperparams=owned)
        norm = gradient_norm(updates, self.axis_name)
        signals = {
            "step": content.step,
            "accepted": content.accepted,
            "grad_norm": jax.lax.stop_gradient(norm),
            **self._known_rate(content),
            **{name: o.value for name, o in content.observed.items()},
            **{f"fresh/{name}": o.fresh for name, o in content.observed.items()},
            **given,
        }
        for name in self.record:
            signals[name] = read(signals, name, "control(record=...)")
        decision, state = asked(
            content, self.controller, signals, alarm=invalid(broken)
        )
        health = content.health
        if self.snapshots and health is not None:
            decision, health = self._filed(self.snapshots, decision, health, file)
        new = counted(content, self.controller, signals, decision, state)

        ok = ~jnp.asarray(decision.skip)
        clips = norm > decision.clip_norm
        # Not `where(clips, limit / norm, 1)`, whose derivative is NaN without a limit.
        clip = jnp.where(clips, decision.clip_norm, 1) / jnp.where(clips, norm, 1)
        force = {n: h.value for n, h in content.hyperparams.items()}
        for name in sorted(force.keys() & decision.knobs.keys()):
            force[name] *= decision.knobs[name]
        scale = jnp.asarray(decision.lr_scale)
        if content.lr_factor is not None:
            force["learning_rate"] *= content.lr_factor * scale
            scale = jnp.ones((), jnp.float32)
        new = new._replace(clipped=new.clipped + (ok & clips).astype(jnp.int32))
        if content.health is None or health is None:
            no = jnp.zeros((), jnp.bool_)
            return Orders(ok, clip, scale, force, no, no, jnp.int32(0)), new
        # A step that lands has a gradient that was taken at 0: nothing of it counts.
        landing = content.health.landing
        held = lambda n, o: jnp.where(landing, o, n)
        new = jax.tree.map(held, new._replace(health=health), landed(content))
        back = jnp.asarray(new.decision.rewind)
        ok &= ~landing
        newest = content.health.newest if new.health is None else new.health.newest
        return Orders(ok, clip, scale, force, back, landing, newest), new

    def _filed(
        self,
        snapshots: Snapshots,
        decision: Decision,
        health: Health,
        file: Callable[[Flag, I32], Flag],
    ) -> tuple[Decision, Health]:
        """Takes a snapshot if it is time, and goes back if that shows a need."""
        told = (decision.alarm & ~int(ABOUT_CONTROL)) != 0
        healthy = ~told & ~decision.skip & ~decision.rewind & ~health.landing
        take, health = snapshots.due(healthy, health)
        broken = file(take, health.newest)
        alarm = jnp.where(broken, jnp.int32(Alarm.NONFINITE_UPDATE), 0)
        back = decision.rewind | broken
        decision = decision._replace(
            rewind=back, skip=decision.skip | back, alarm=decision.alarm | alarm
        )
        return decision, snapshots.popped(back, health)

    def _rules(self, step: Any) -> dict[str, F32]:
        return self.injected.values(step) if self.injected else {}

    def _owned(self, content: Content) -> tuple[dict[str, Hyperparameter], Flag]:
        """Returns the hyper-parameters of this step, and whether a rule is broken.

        They are as set by hand, or by rule; where a rule is not finite, as they were.
        """
        owned, broken = {}, jnp.zeros((), jnp.bool_)
        rules = self._rules(content.accepted)
        for name, h in content.hyperparams.items():
            stays = h.held | ~jnp.isfinite(rules[name])
            value = jnp.where(stays, h.value, rules[name])
            owned[name] = Hyperparameter(value, h.held)
            broken |= stays & ~h.held
        return owned, broken

    def _known_rate(self, content: Content) -> dict[str, Any]:
        if content.lr_factor is not None:
            rate = content.hyperparams["learning_rate"].value
            return {"learning_rate": rate * content.lr_factor}
        if self.rate is None:
            return {}
        return {"learning_rate": jnp.asarray(self.rate(content.accepted), jnp.float32)}
