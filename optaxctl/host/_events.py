"""Events: who did what in a row, and why, in sentences."""

import math
import re
from collections.abc import Mapping
from typing import Any

from optaxctl._core.flags import (
    Alarm,
    Severity,
    StopReason,
    names,
    sentences,
    severity,
)
from optaxctl.host._table import Table

Event = dict[str, Any]

NONFINITE = Alarm.NONFINITE_LOSS | Alarm.NONFINITE_GRADIENT | Alarm.GRADIENT_EXPLODED


class Teller:
    """Makes events from rows.

    Args:
      calls: How the controllers were made, by name; they say who may have done what.
      prefix: Of the columns, where a control state is not the first.
    """

    def __init__(self, calls: Mapping[str, str], prefix: str = ""):
        self._calls, self._prefix = calls, prefix

    def alarm(self, now: Table, i: int, bit: int) -> Event:
        """An alarm has gone up."""
        (name,), (reason,) = names(Alarm, bit), sentences(Alarm, bit)
        return self._event(
            now,
            i,
            kind=f"alarm/{name}",
            actor=self._guard("watch", "watch.", alarms=bit),
            severity=severity(bit).name.lower(),
            reason=reason,
        )

    def refusal(self, now: Table, i: int) -> Event:
        """A step was refused."""
        alarms = int(self._value(now, i, "alarms"))
        said = " ".join(sentences(Alarm, alarms))
        return self._event(
            now,
            i,
            kind="refused",
            actor=self._guard("guard", "skip=True", "skip_spikes(", alarms=alarms),
            severity=max(severity(alarms), Severity.WARNING).name.lower(),
            reason=said or "A controller asked to refuse the step.",
        )

    def clip(self, now: Table, i: int) -> Event:
        """A gradient was clipped."""
        norm, limit = (self._value(now, i, n) for n in ("grad_norm", "clip_norm"))
        return self._event(
            now,
            i,
            kind="clipped",
            actor=self._actor("clip", "clip."),
            severity="info",
            old=norm,
            new=limit,
            reason=f"The gradient norm {norm:.4g} is above its limit {limit:.4g}.",
        )

    def rewind(self, now: Table, i: int) -> Event:
        """A controller asked to go back."""
        said = " ".join(sentences(Alarm, int(self._value(now, i, "alarms"))))
        return self._event(
            now,
            i,
            kind="rewind",
            actor=self._actor("guard", "rollback(", "rewind=True"),
            severity="critical",
            reason=said or "A controller asked to go back to a healthy state.",
        )

    def stop(self, now: Table, i: int, bits: int) -> Event:
        """A controller asked to stop, for reasons that were not there before."""
        rules = [f"{name}(" for name in names(StopReason, bits)]
        actor = self._actor("stop", "stop.", prefer=rules)
        grave = bits & (StopReason.NONFINITE | StopReason.GAVE_UP)
        event = self._event(
            now,
            i,
            kind="stop",
            actor=actor,
            severity="critical" if grave else "info",
            new=float(bits),
            reason=self._why_stop(now, i, bits),
        )
        event["evidence"] |= {
            "reasons": list(names(StopReason, bits)),
            "gauges": self._gauges(now, i, actor),
        }
        return event

    def rate(self, now: Table, old: Table, i: int, path: str | None) -> Event:
        """A controller moved the learning rate; `path` leads to its gauges."""
        actor = (path or "").split("/")[0] or self._actor("control", "lr.", "lr_scale=")
        before, after = (self._in_force(table, i) for table in (old, now))
        scales = [self._value(table, i, "lr_scale") for table in (old, now)]
        fell = scales[1] < scales[0]
        change = 100 * (after / before - 1) if before else math.nan
        metrics = {} if path is None else self._gauges(old, i, path)
        reason = self._why_rate(metrics, actor)
        event = self._event(
            now,
            i,
            kind="lr_scale",
            actor=actor,
            severity="info",
            old=before,
            new=after,
            reason=reason,
        )
        event["evidence"] |= {
            "event": "lr_change",
            "decision": "decrease" if fell else "increase",
            "step": event["step"],
            "old_lr": before,
            "new_lr": after,
            "change_pct": round(change, 4),
            "reason": reason,
            "metrics": metrics,
        }
        return event

    def knob(self, now: Table, old: Table, i: int, name: str) -> Event:
        """A controller moved a hyper-parameter."""
        before, after = (self._value(table, i, f"knob/{name}") for table in (old, now))
        return self._event(
            now,
            i,
            kind=f"knob/{name}",
            actor=self._actor("control", "knobs="),
            severity="info",
            old=before,
            new=after,
            reason=f"The factor of {name} went from {before:.4g} to {after:.4g}.",
        )

    def _event(self, now: Table, i: int, *, actor: str, **what: Any) -> Event:
        measured = {n: self._value(now, i, n) for n in ("loss", "grad_norm")}
        return {
            "step": int(now["step"][i]),
            "time": float(now.times[i]),
            "actor": self._prefix + actor,
            "old": None,
            "new": None,
            "outcome": "",
            "evidence": {n: v for n, v in measured.items() if not math.isnan(v)},
            **what,
        }

    def _value(self, table: Table, i: int, name: str) -> float:
        return table.at(i, self._prefix + name)

    def _in_force(self, table: Table, i: int) -> float:
        """Returns the learning rate, or its scale where the rate is hidden."""
        rate = self._value(table, i, "learning_rate")
        return self._value(table, i, "lr_scale") if math.isnan(rate) else rate

    def _gauges(self, table: Table, i: int, path: str) -> dict[str, float]:
        above = f"{self._prefix}gauge/{path}/" if path else f"{self._prefix}gauge/"
        return {
            name.removeprefix(above): table.at(i, name)
            for name in table.columns
            if name.startswith(above)
        }

    def _actor(self, default: str, *marks: str, prefer: list[str] | None = None) -> str:
        """Returns the only controller whose making shows one of the marks."""
        for wanted in (prefer or [], marks):
            found = [
                name or call.partition("(")[0]
                for name, call in self._calls.items()
                if any(mark in call for mark in wanted)
            ]
            if len(found) == 1:
                return found[0]
        return default

    def _guard(self, default: str, *marks: str, alarms: int) -> str:
        if alarms & NONFINITE:
            return self._actor("guard", "guard(", "nonfinite(")
        return self._actor(default, *marks)

    def _why_rate(self, metrics: Mapping[str, float], actor: str) -> str:
        """Says what the rule had before it; gauges are those of the step before."""
        if math.isfinite(bar := metrics.get("to_beat", math.nan)):
            return f"{self._monitored(actor)} did not beat {bar:.4g}."
        known = ("window_mean", "improvement", "slope", "cv")
        said = [f"{n} {metrics[n]:.3g}" for n in known if n in metrics]
        if said:
            return f"{actor} decided on {', '.join(said)}."
        return f"{actor} asked for it."

    def _why_stop(self, now: Table, i: int, bits: int) -> str:
        """Says of a rule of patience what it waited for, as `explain` does."""
        step = f"{int(now['step'][i]):,}"
        over = [
            name.removesuffix("stale")
            for name in now.columns
            if name.startswith(f"{self._prefix}gauge/")
            and name.endswith("stale")
            and now.columns.get(name.removesuffix("stale") + "patience_left")
            and now[name.removesuffix("stale") + "patience_left"][i] == 0
        ]
        said = []
        if len(over) == 1 and bits & StopReason.PATIENCE:
            bits &= ~int(StopReason.PATIENCE)
            (path,) = over
            bar, stale = (now.at(i, path + name) for name in ("to_beat", "stale"))
            who = path.removeprefix(f"{self._prefix}gauge/").split("/")[0]
            updates = "1 update" if stale == 1 else f"{stale:,} updates"
            said.append(
                f"{self._monitored(who)} has not beaten {bar:.6g} for {updates}; "
                f"stopping at step {step}."
            )
        if bits:
            said += [*sentences(StopReason, bits), f"Stopping at step {step}."]
        return " ".join(said)

    def _monitored(self, actor: str) -> str:
        """Returns the signal that a controller reads, as far as its call shows it."""
        call = self._calls.get(actor) or self._calls.get("", "")
        if found := re.search(r"monitor='([^']*)'", call):
            return found[1]
        return "val_loss" if "patience(" in call else "The monitored signal"
