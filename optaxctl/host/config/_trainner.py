"""The block `training_automations:` of traiNNer-redux, as in delafer's fork of it."""

from collections.abc import Mapping
from typing import Any

from optaxctl.host.config._foreign import (
    Convert,
    Draft,
    Foreign,
    Said,
    checks,
    converted,
    mappings,
    refused,
    used,
)
from optaxctl.host.config._messages import hint, shown
from optaxctl.host.config._yaml import ConfigError, Path, Problem, Source

_UNREAD = refused("its code stores it and never reads it")
_ONCE = refused("a run is stopped once")
_LATER = refused("control of the batch size is not there yet")
_PATCH = refused("the size of patches is a matter of the data, not of the optimizer")
_FALLING = ("loss", "lpips", "dists", "fid", "niqe", "nrmse", "mse", "mae")


def read(source: Source) -> Foreign:
    """Says of each key what it is here.

    Raises:
      ConfigError: If there is no such block.
    """
    path, block = _block(source)
    draft = Draft(source)
    every = _every(source.data)
    for name, values in block.items():
        here = (*path, name)
        if name == "enabled":
            word = "acts" if values is True else "is off"
            draft.said(here, Said("used", f"what is in the block {word}."))
        elif (known := _NAMES.get(name.replace("_", "").lower())) is None:
            word = "there is no such automation." + hint(name, _TITLES)
            draft.said(here, Said("refused", word))
        elif not isinstance(values, Mapping):
            word = f"it must be keys and values, got {shown(values)}."
            draft.said(here, Said("refused", word, wrong=True))
        else:
            on = block.get("enabled") is True and values.get("enabled") is True
            _automation(draft, here, values, known, every, on)
    return draft.done()


def _block(source: Source) -> tuple[Path, Mapping[str, Any]]:
    for path, block in mappings(source.data, "train", "training_automations"):
        if path[-1] == "training_automations":
            return path, block
    word = "There is no block `training_automations:`."
    raise ConfigError(Problem(source.places[()], "", word))


def _every(data: Mapping[str, Any]) -> Any:
    validation = data.get("val")
    return validation.get("val_freq") if isinstance(validation, Mapping) else None


def _automation(
    draft: Draft,
    path: Path,
    values: Mapping[str, Any],
    title: str,
    every: Any,
    on: bool,
) -> None:
    if path[-1] != title and title != _BATCH:
        word = (
            f"its code knows `{title}` only, so there this does nothing; here it acts."
        )
        draft.said(path, Said("converted", word))
    place = draft.theirs.place(path)
    start = _STARTS.get(title, {}) if on else {}
    for to, value in start.items():
        draft.put(to, value, place)
    known = {"enabled": _enabled} | _CONVERTERS[title](values, every)
    if not on:
        word = "it is off: it acts with `enabled: true`, here and above, only"
        known = dict.fromkeys(known, refused(word)) | {"enabled": known["enabled"]}
    draft.block(path, values, known)
    metric = values.get("monitor_metric", values.get("metric"))
    if (
        title == _STOPPING
        and start
        and "mode" not in values
        and isinstance(metric, str)
    ):
        draft.put("early_stopping.mode", "min" if _falls(metric) else "max", place)


def _enabled(value: Any) -> Said:
    word = "it acts." if value is True else "it is off."
    return Said("used", word)


def _rate(values: Mapping[str, Any], every: Any) -> dict[str, Convert]:
    del every
    return {
        "adaptation_threshold": _UNREAD,
        "architecture_hints": _UNREAD,
        "fallback": _UNREAD,
        "improvement_threshold": used("lr.atol"),
        "lr_log_frequency": refused("every change is one event here, and only that"),
        "max_adjustments": converted("lr.max_adjustments", "there nothing enforces it"),
        "max_lr_factor": refused("`lr.plateau` never raises the rate"),
        "min_lr_factor": converted(
            "lr.floor", "it bounds the product of all cuts, there each cut by itself"
        ),
        "monitor_loss": _loss,
        "monitor_validation": refused(
            "one rule reads one signal, and this one reads the loss; for a metric set "
            "`lr.monitor` and `lr.mode`, and count `lr.updates` in validations"
        ),
        "plateau_patience": used("lr.updates", "in steps; each cut is x0.8, as there"),
    }


def _loss(value: Any) -> Said:
    if value is True:
        return Said("used", "`lr.monitor: 'loss'`.", "lr.monitor", "loss")
    word = "the rate follows the loss there too, whatever this says."
    return Said("refused", word)


def _clipping(values: Mapping[str, Any], every: Any) -> dict[str, Convert]:
    del values, every
    ours = {
        "initial_threshold": "initial",
        "min_threshold": "floor",
        "max_threshold": "ceil",
        "adjustment_factor": "factor",
        "monitoring_frequency": "updates",
        "gradient_history_size": "window",
        "max_adjustments": "max_adjustments",
    }
    found: dict[str, Convert] = {
        theirs: used(f"clipping.{own}", "which its code never reads")
        for theirs, own in ours.items()
    }
    return found | {"fallback": _UNREAD}


def _stopping(values: Mapping[str, Any], every: Any) -> dict[str, Convert]:
    del values
    unread = ("min_epochs", "max_no_improvement", "improvement_threshold", "fallback")
    quiet = refused("it only delays a message there")
    known: dict[str, Convert] = dict.fromkeys(unread, _UNREAD)
    return known | {
        "convergence_log_frequency": quiet,
        "convergence_threshold": quiet,
        "max_adjustments": _ONCE,
        "metric": _metric,
        "min_improvement": used("early_stopping.min_delta"),
        "min_iterations": lambda value: _iterations(value, every),
        "min_sustained_convergence_for_log": quiet,
        "mode": used("early_stopping.mode"),
        "monitor_metric": _metric,
        "patience": lambda value: _patience(value, every),
        "save_best": refused("it is `checkpointing: {best: NAME}` here"),
        "warmup_iterations": quiet,
    }


def _metric(value: Any) -> Said:
    to = "early_stopping.monitor"
    if not isinstance(value, str):
        return Said("used", f"`{to}: {shown(value)}`.", to, value)
    name = value.replace("/", "_")
    word = "higher is better, as there; set `early_stopping.mode` if not."
    if _falls(name):
        word = "lower is better; there the run stops because it improves."
    return Said("converted", f"`{to}: {name}`, {word}", to, name)


def _falls(name: str) -> bool:
    return any(word in name.lower() for word in _FALLING)


def _patience(value: Any, every: Any) -> Said:
    words = (
        f"`early_stopping.patience: {shown(value)}`, in validations, as its code has it"
    )
    if (meant := checks(value, every)) is not None:
        words += (
            f"; at val_freq {every:,} that is {value * every:,} iterations. For "
            f"{value:,} iterations, as its guide has it, write {meant:,}"
        )
    return Said("used", f"{words}.", "early_stopping.patience", value)


def _iterations(value: Any, every: Any) -> Said:
    number = checks(value, every)
    if number is None:
        word = (
            "iterations cannot be counted in validations without `val: val_freq:`; set "
            "`early_stopping.min_epochs`, in validations."
        )
        return Said("refused", word)
    word = (
        f"`early_stopping.min_epochs: {number:,}`, in validations: {value:,} "
        f"iterations at val_freq {every:,}. Before, all count here and none there."
    )
    return Said("converted", word, "early_stopping.min_epochs", number)


def _batch(values: Mapping[str, Any], every: Any) -> dict[str, Convert]:
    del every
    return {key: _PATCH if "lq_size" in key else _LATER for key in values}


_RATE, _CLIPPING = "IntelligentLearningRateScheduler", "AdaptiveGradientClipping"
_STOPPING, _BATCH = "IntelligentEarlyStopping", "DynamicBatchSizeOptimizer"
_CONVERTERS = {
    _RATE: _rate,
    _CLIPPING: _clipping,
    _STOPPING: _stopping,
    _BATCH: _batch,
}
_TITLES = [*_CONVERTERS, "DynamicBatchAndPatchSizeOptimizer"]
_NAMES = {title.lower(): title for title in _CONVERTERS} | {
    "dynamicbatchandpatchsizeoptimizer": _BATCH,
    "earlystopping": _STOPPING,
}
# What holds there without a key for it.
_STARTS: dict[str, dict[str, Any]] = {
    _RATE: {
        "lr.type": "plateau",
        "lr.monitor": "loss",
        "lr.updates": 1000,
        "lr.factor": 0.8,
        "lr.atol": 0.001,
        "lr.rtol": 0.0,
        "lr.floor": 0.1,
    },
    _CLIPPING: {"clipping.type": "band"},
    _STOPPING: {
        "early_stopping.type": "early_stopping",
        "early_stopping.monitor": "val_psnr",
        "early_stopping.mode": "max",
        "early_stopping.patience": 2000,
        "early_stopping.min_delta": 0.001,
    },
}
