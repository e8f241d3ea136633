"""What another configuration would have decided on what a run has recorded."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optaxctl._core.closest import did_you_mean
from optaxctl._core.controllers import calls
from optaxctl.host import _database
from optaxctl.host._recorded import Event, Run
from optaxctl.host._table import Columns, Table
from optaxctl.host._transitions import Transitions
from optaxctl.host.config import Config
from optaxctl.views._replay import Replay, replay

Floats = np.ndarray

# Events that are decisions of controllers, as `Transitions` finds them in rows.
_KINDS = {"refused", "clipped", "rewind", "stop", "lr_scale"}
_PREFIXES = ("alarm/", "knob/")
_PEOPLE = {"user", "loop"}
# What a row has beside signals.
_DONE = {"lr_scale", "clip_norm"}
_ASIDE = ("gauge/", "knob/", "group/")


@dataclass(frozen=True)
class Course:
    """What was decided on a run, or would have been.

    Attributes:
      stop: The step at which a controller asked to stop first; None if none did.
      refused: Steps that were refused, until then.
      clipped: Steps that were clipped.
      rewinds: Times that a controller asked to go back.
      events: What happened, in order, by the names in `_database.EVENT`.
    """

    stop: int | None
    refused: int
    clipped: int
    rewinds: int
    events: list[dict[str, Any]]

    @property
    def cuts(self) -> int:
        """How often the learning rate was lowered."""
        told = [event["evidence"].get("decision") for event in self.events]
        return told.count("decrease")


def states(run: Run) -> int:
    """Returns how many control states a run has recorded; the first is replayed."""
    found = {name.split("/")[1] for name, _ in run.columns if name.startswith("group/")}
    return 1 + len(found)


def courses(run: Run, config: Config, called: str) -> tuple[Course, Course]:
    """Returns what the run did, and what the configuration would have decided.

    The latter ends where it would have stopped the run.

    Args:
      run: With steps in it.
      config: What to try.
      called: What problems call the configuration.

    Raises:
      ConfigError: With every value that no factory takes.
      LookupError: If a signal was not recorded that a controller reads, or no step.
    """
    with _database.reading(run.path) as db:
        rows = list(_database.rows(db, run.id))
    if not rows:
        raise LookupError(
            f"{run.key} has recorded no step, so nothing can be replayed."
        )
    table = Columns(run.columns).table(rows)
    controller, rate = config.controller(), config.rate()
    base = _base(table, rate)
    told = config.recording.signals if config.recording else ()
    whole = {"loss", "grad_norm", "learning_rate", *told}  # they come in every step
    recorded = {**_columns(table), "learning_rate": base}
    recorded = {n: v for n, v in recorded.items() if not np.isnan(v).all()}
    values: dict[str, Any] = {"step": table["step"] - 1}
    masks: dict[str, Any] = {}
    evaluations = run.evaluations()
    for name in sorted(controller.signals - {"step", "accepted"}):
        if name in whole & recorded.keys():
            values[name] = recorded[name]
        elif name in evaluations:
            values[name], masks[name] = _arrived(table["step"], *evaluations[name])
        elif name in recorded:
            values[name], masks[name] = recorded[name], _changes(recorded[name])
        else:
            known = recorded.keys() | evaluations.keys()
            raise LookupError(_missing(run, called, name, known))
    decided = _decided(table, base, replay(controller, values, masks))
    begun, ended = (found := Transitions(calls(controller))).update(decided)
    # What has lasted is told again when it is over.
    last = {(e["step"], e["actor"], e["kind"]): e for e in begun}
    last |= {(e["step"], e["actor"], e["kind"]): e for e in [*ended, *found.close()]}
    did = [asdict(event) for event in run.events() if _is_decision(event)]
    by_step = sorted(last.values(), key=lambda event: event["step"])
    return _course(table, did), _course(decided, by_step)


def _is_decision(event: Event) -> bool:
    known = event.kind in _KINDS or event.kind.startswith(_PREFIXES)
    return known and event.actor not in _PEOPLE


def _course(table: Table, events: list[dict[str, Any]]) -> Course:
    stops = np.flatnonzero(table["stop"])
    return Course(
        stop=int(table["step"][stops[0]]) if stops.size else None,
        refused=int(np.count_nonzero(table["refused"])),
        clipped=int(np.count_nonzero(table["clipped"])),
        rewinds=int(np.count_nonzero(table["rewind"])),
        events=events,
    )


def _decided(table: Table, base: Floats, done: Replay) -> Table:
    """Returns the rows of a replay, as `octl.row` would have made them."""
    d = jax.tree.map(np.asarray, done.decisions)
    stop = np.bitwise_or.accumulate(d.stop)
    # What no control carries out, it ignores.
    scale = np.where(d.lr_scale >= 0, d.lr_scale, 1)
    limit = np.where(np.isnan(d.clip_norm), np.inf, d.clip_norm)
    accepted, norm = ~d.skip, table["grad_norm"]
    rate = base * scale * d.knobs.get("learning_rate", 1)
    columns = {
        "step": table["step"],
        "accepted": accepted.cumsum(),
        "refused": d.skip,
        "rewind": d.rewind,
        "stop": stop,
        "alarms": d.alarm,
        "loss": table["loss"],
        "grad_norm": norm,
        "learning_rate": rate.astype(np.float32),
        "lr_scale": scale.astype(np.float32),
        "clip_norm": limit.astype(np.float32),
        "clipped": accepted & (norm > limit),
    }
    columns |= {f"knob/{name}": factor for name, factor in d.knobs.items()}
    gauges = {name: np.asarray(gauge) for name, gauge in done.gauges.items()}
    columns |= {f"gauge/{n}": gauge for n, gauge in gauges.items() if gauge.ndim == 1}
    kinds = {n: "f" if v.dtype == np.float32 else "i" for n, v in columns.items()}
    words = [
        v.astype("<f4" if kinds[n] == "f" else "<i4").view("<i4")
        for n, v in columns.items()
    ]
    end = int(np.flatnonzero(stop)[0]) + 1 if stop.any() else len(table)
    places = Columns(kinds.items()).places
    return Table(places, np.stack(words, axis=1), table.times).part(0, end)


def _base(table: Table, rate: Any) -> Floats:
    """Returns the learning rate of every step before what controllers make of it."""
    before = table["accepted"] - (table["refused"] == 0)
    if callable(rate):
        return np.asarray(jax.vmap(rate)(jnp.asarray(before)), np.float32)
    if rate is not None:
        return np.full(len(table), rate, np.float32)
    factor = table["lr_scale"]
    if "knob/learning_rate" in table.columns:
        factor = factor * table["knob/learning_rate"]
    with np.errstate(all="ignore"):
        found = table["learning_rate"] / factor
    # Where the factor is 0, nobody knows; it is what it is next.
    known = np.flatnonzero(np.isfinite(found))
    if not known.size:
        return np.full(len(table), np.nan, np.float32)
    place = np.searchsorted(known, np.arange(len(table))).clip(max=known.size - 1)
    return found[known[place]]


def _columns(table: Table) -> dict[str, Floats]:
    """Returns the recorded signals of every step, by name."""
    return {
        name: table[name]
        for name, (_, kind) in table.columns.items()
        if kind == "f" and name not in _DONE and not name.startswith(_ASIDE)
    }


def _arrived(
    steps: np.ndarray, at: list[int], values: list[float]
) -> tuple[Floats, np.ndarray]:
    """Returns evaluations in the steps that saw them, and which steps these are."""
    found, fresh = np.full(len(steps), np.nan, np.float32), np.zeros(len(steps), bool)
    for step, value in zip(at, values, strict=True):
        place = int(np.searchsorted(steps, step, side="right"))
        if place < len(steps):
            found[place], fresh[place] = value, True
    return found, fresh


def _changes(values: Floats) -> np.ndarray:
    """Returns where a signal that keeps its value was handed over, as far as it shows.

    An equal value twice cannot be told from one.
    """
    known = ~np.isnan(values)
    return known & np.append(True, values[1:] != values[:-1])


def _missing(run: Run, called: str, name: str, known: set[str]) -> str:
    return (
        f"{called} reads the signal `{name}`, and {run.key} did not record it."
        f"{did_you_mean(name, known)} It has {', '.join(sorted(known)) or 'none'}."
    )
