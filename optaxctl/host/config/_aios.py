"""The block `adaptive_lr:` of AI-OS, or its keys at the top of a file."""

from collections.abc import Mapping
from typing import Any

from optaxctl.host.config._foreign import (
    Convert,
    Draft,
    Foreign,
    Said,
    converted,
    mappings,
    refused,
    used,
)
from optaxctl.host.config._messages import hint, shown
from optaxctl.host.config._presets import sections
from optaxctl.host.config._yaml import Path, Source

_MODES = ("balanced", "conservative", "aggressive", "auto")


def read(source: Source) -> Foreign:
    """Says of each key what it is here."""
    path, block = _block(source)
    draft = Draft(source)
    mode = str(block.get("mode", "balanced")).strip().lower()
    place = source.place(path)
    # Its defaults, where they are not ours; its deviations are on a linear scale.
    start = {"scale": "linear", "window": 50, "patience": 10, "cooldown": 10}
    for key, value in start.items():
        draft.put(f"lr.{key}", value, place)
    changes = _changes(mode)
    given = refused(f"`octl.lr.{mode.upper()}` gives it, as `mode` asks")
    known = {
        key: given if convert(None).to.removeprefix("lr.") in changes else convert
        for key, convert in _known(mode).items()
    }
    draft.block(path, block, known)
    rule = draft.ours.data["lr"]
    if mode == "auto":
        own = {k: rule.pop(k) for k in ("turbulent", "plateau", "hold") if k in rule}
        places = draft.ours.places
        moved = {p[1]: w for p, w in places.items() if p[0:1] == ("lr",) and p[1:]}
        places |= {("lr", "usual", k): w for k, w in moved.items() if k not in own}
        draft.ours.data["lr"] = {"type": "automatic", "usual": rule, **own}
    else:
        draft.ours.data["lr"] = {"type": "adaptive", **rule, **changes}
    return draft.done()


def _changes(mode: str) -> dict[str, Any]:
    if mode not in ("conservative", "aggressive"):
        return {}
    skipped = ("type", "window", "nonfinite")
    return {k: v for k, v in sections(mode)["lr"].items() if k not in skipped}


def _block(source: Source) -> tuple[Path, Mapping[str, Any]]:
    for path, block in mappings(source.data, "adaptive_lr"):
        return path, block
    return (), source.data


def _known(mode: str) -> dict[str, Convert]:
    experts = refused("it acts in runs of experts only; that is `preset: moe` here")
    log = refused("every decision is recorded here, and nothing is printed")
    noise = "deviations about the trend of the window; there the trend counts as noise"
    return {
        "cooldown_steps": used("lr.cooldown"),
        "debug_level": log,
        "decrease_factor": used("lr.decrease"),
        "emit_window_summary": log,
        "increase_factor": used("lr.increase"),
        "increase_threshold": used("lr.improving"),
        "initial_lr": used("learning_rate"),
        "instability_threshold": converted("lr.unstable", noise),
        "lr_max": used("lr.max_rate"),
        "lr_min": used("lr.min_rate"),
        "max_change_per_step": used("lr.max_change"),
        "mode": _mode,
        "moe_decrease_factor": experts,
        "moe_increase_factor": experts,
        "moe_lr_max": experts,
        "moe_lr_min": experts,
        "patience": used("lr.patience", "in windows"),
        "plateau_threshold": used("lr.flat"),
        "spike_factor": converted(
            "lr.brake", "it holds in full; there `max_change_per_step` undoes it"
        ),
        "spike_threshold": refused(
            "it compares means of windows, and `lr.spike` each loss with its "
            "deviations: 6.0 unless you set it"
        ),
        "stability_threshold": converted("lr.stable", noise),
        "window_size": used("lr.window"),
        "window_summary_every": log,
        **_automatic(mode),
    }


def _automatic(mode: str) -> dict[str, Convert]:
    keys = (
        "auto_cv_conservative",
        "auto_mode_cooldown_windows",
        "auto_mode_initial",
        "auto_plateau_windows",
    )
    if mode != "auto":
        return dict.fromkeys(keys, refused("it acts with `mode: auto` only"))
    turbulent, hold, initial, plateau = keys
    return {
        turbulent: used("lr.turbulent"),
        hold: used("lr.hold", "in windows"),
        initial: _initial,
        plateau: used("lr.plateau", "in windows"),
    }


def _initial(value: Any) -> Said:
    if value == "balanced":
        return Said("used", "`lr.automatic` begins with `usual`.")
    word = "`lr.automatic` begins with `usual`, which is balanced."
    return Said("refused", word, wrong=value not in _MODES)


def _mode(value: Any) -> Said:
    mode = str(value).strip().lower()
    if mode not in _MODES:
        word = f"it must be one of {', '.join(_MODES)}, got {shown(value)}."
        return Said("refused", word + hint(mode, _MODES), wrong=True)
    if mode == "balanced":
        return Said("used", "`lr.type: adaptive`.")
    if mode == "auto":
        return Said("converted", "`lr.type: automatic`, with these keys as `usual`.")
    word = f"`octl.lr.{mode.upper()}` gives {', '.join(_changes(mode))}"
    if mode == "conservative":
        word += "; there a raise of x1.1 becomes a cut, x0.825"
    return Said("converted", f"{word}.")
