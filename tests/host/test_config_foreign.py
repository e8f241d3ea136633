"""Files of other libraries: each key is used, converted or refused, with reasons."""

from pathlib import Path
from typing import Any

import pytest

import optaxctl as octl
from optaxctl.host.config._yaml import dump

# The guide's values, as research has them.
TRAINNER = {
    "IntelligentLearningRateScheduler": {
        "enabled": True,
        "plateau_patience": 1000,
        "improvement_threshold": 0.002,
        "min_lr_factor": 0.2,
        "max_lr_factor": 2.0,
        "monitor_loss": True,
        "monitor_validation": True,
        "adaptation_threshold": 0.02,
        "max_adjustments": 50,
        "lr_log_frequency": 100,
    },
    "DynamicBatchSizeOptimizer": {
        "enabled": True,
        "target_vram_usage": 0.85,
        "max_lq_size": 128,
    },
    "AdaptiveGradientClipping": {
        "enabled": True,
        "initial_threshold": 2.0,
        "min_threshold": 0.2,
        "max_threshold": 9.0,
        "adjustment_factor": 1.3,
        "monitoring_frequency": 10,
        "gradient_history_size": 90,
        "max_adjustments": 100,
        "fallback": {"threshold": 1.0},
    },
    "IntelligentEarlyStopping": {
        "enabled": True,
        "patience": 2000,
        "min_improvement": 0.01,
        "min_iterations": 5000,
        "monitor_metric": "val/psnr",
        "warmup_iterations": 1000,
        "max_adjustments": 1,
    },
}
AIOS = {
    "initial_lr": 2e-4,
    "lr_min": 2e-6,
    "lr_max": 4e-3,
    "window_size": 40,
    "patience": 20,
    "cooldown_steps": 15,
    "increase_threshold": 0.03,
    "plateau_threshold": 0.002,
    "spike_threshold": 1.2,
    "stability_threshold": 0.2,
    "instability_threshold": 0.6,
    "increase_factor": 1.15,
    "decrease_factor": 0.6,
    "spike_factor": 0.4,
    "max_change_per_step": 0.25,
    "moe_lr_min": 1e-5,
    "debug_level": 0,
    "mode": "balanced",
    "auto_plateau_windows": 4,
}


def read(tmp_path: Path, library: Any, data: Any) -> octl.config.Foreign:
    path = tmp_path / "theirs.yml"
    path.write_text(dump(data))
    return octl.config.foreign(path, library)


def verdicts(found: octl.config.Foreign) -> dict[str, str]:
    return {row.key.rpartition(".")[2]: row.verdict for row in found.rows}


def trainner(tmp_path: Path, blocks: Any, **more: Any) -> octl.config.Foreign:
    block = {"training_automations": {"enabled": True, **blocks}}
    return read(tmp_path, "trainner", {"train": block, **more})


def test_trainner_block_is_what_its_guide_says(tmp_path: Path) -> None:
    found = trainner(tmp_path, TRAINNER, val={"val_freq": 1000})
    assert repr(found.config().controller()) == (
        "together(guard=guard(), lr=lr.plateau(1000, factor=0.8, monitor='loss', "
        "atol=0.002, rtol=0.0, floor=0.2, max_adjustments=50), "
        "clipping=clip.band(2.0, floor=0.2, ceil=9.0, factor=1.3, updates=10, "
        "window=90, max_adjustments=100), early_stopping=after(4, stop.patience(2000, "
        "monitor='val_psnr', mode='max', atol=0.01)))"
    )
    assert octl.config.parse(found.as_yaml()) == found.config()
    lines = str(found)
    for words in (
        "at val_freq 1,000 that is 2,000,000 iterations. For 2,000 iterations",
        "`early_stopping.min_epochs: 5`, in validations: 5,000 iterations at val_freq",
        "max_lr_factor: refused because `lr.plateau` never raises the rate",
        "target_vram_usage: refused because control of the batch size is not there yet",
    ):
        assert words in lines
    keys = {key for block in TRAINNER.values() for key in block}
    assert keys <= verdicts(found).keys()


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("intelligent_learning_rate_scheduler", "IntelligentLearningRateScheduler"),
        ("adaptive_gradient_clipping", "AdaptiveGradientClipping"),
        ("early_stopping", "IntelligentEarlyStopping"),
        ("dynamic_batch_size_optimizer", "DynamicBatchSizeOptimizer"),
        ("dynamic_batch_and_patch_size_optimizer", "DynamicBatchSizeOptimizer"),
        ("DynamicBatchAndPatchSizeOptimizer", "DynamicBatchSizeOptimizer"),
    ],
)
def test_other_names_of_a_block_mean_the_same(
    name: str, title: str, tmp_path: Path
) -> None:
    found = trainner(tmp_path, {name: TRAINNER[title]})
    same = trainner(tmp_path, {title: TRAINNER[title]})
    assert found.values == same.values
    if "batch" not in name.lower():
        assert "there this does nothing; here it acts" in str(found)


def test_trainner_traps(tmp_path: Path) -> None:
    block = {"enabled": True, "monitor_metric": "val/loss", "min_iterations": 5000}
    found = trainner(tmp_path, {"IntelligentEarlyStopping": block, "Nothing": {}})
    assert found.values["early_stopping"]["mode"] == "min"
    assert "there the run stops because it improves" in str(found)
    assert verdicts(found)["min_iterations"] == verdicts(found)["Nothing"] == "refused"
    unknown = trainner(
        tmp_path, {"IntelligentEarlyStopping": block}, val={"val_freq": 0}
    )
    assert verdicts(unknown)["min_iterations"] == "refused"
    off = trainner(tmp_path, {"AdaptiveGradientClipping": {"max_threshold": 3.0}})
    assert off.values == {}
    assert "it acts with `enabled: true`" in str(off)
    with pytest.raises(octl.config.ConfigError, match=r"theirs.yml: There is no"):
        read(tmp_path, "trainner", {"train": {}})
    block = {"enabled": True, "max_threshold": "x"}
    bad = trainner(tmp_path, {"AdaptiveGradientClipping": block})
    with pytest.raises(octl.config.ConfigError, match=r"theirs.yml:6: clipping.ceil"):
        bad.config()


@pytest.mark.parametrize("nested", [True, False])
def test_aios_block_keeps_its_numbers(nested: bool, tmp_path: Path) -> None:
    found = read(tmp_path, "aios", {"adaptive_lr": AIOS} if nested else AIOS)
    config = found.config()
    assert config.learning_rate == 2e-4
    assert repr(config.controller()) == (
        "together(guard=guard(), lr=lr.adaptive(scale='linear', window=40, "
        "patience=20, cooldown=15, increase=1.15, decrease=0.6, brake=0.4, "
        "improving=0.03, flat=0.002, stable=0.2, unstable=0.6, max_change=0.25, "
        "min_rate=2e-06, max_rate=0.004))"
    )
    told = verdicts(found)
    assert told.keys() == AIOS.keys()
    refused = {key for key, verdict in told.items() if verdict == "refused"}
    assert refused == {
        *("spike_threshold", "moe_lr_min", "debug_level", "auto_plateau_windows")
    }
    assert "there `max_change_per_step` undoes it" in str(found)


def test_aios_modes(tmp_path: Path) -> None:
    careful = read(tmp_path, "aios", AIOS | {"mode": "conservative"})
    for name, value in octl.lr.CONSERVATIVE.items():
        assert careful.values["lr"][name] == value
    assert verdicts(careful)["increase_factor"] == "refused"
    assert verdicts(careful)["decrease_factor"] == "refused"
    assert verdicts(careful)["increase_threshold"] == "used"
    auto = read(tmp_path, "aios", AIOS | {"mode": "auto", "auto_cv_conservative": 0.7})
    assert repr(auto.config().lr.factory.name) == "'automatic'"
    assert auto.values["lr"]["plateau"] == 4
    assert auto.values["lr"]["turbulent"] == 0.7
    assert auto.values["lr"]["usual"]["increase"] == 1.15
    auto.config().check()
    odd = read(tmp_path, "aios", {"mode": "wild", "windw_size": 3})
    assert verdicts(odd) == {"mode": "refused", "windw_size": "refused"}
    assert "Did you mean `window_size`" in str(odd)
    with pytest.raises(octl.config.ConfigError, match=r"yml:1: mode: it .*got 'wild'"):
        odd.config()
    begins = {"mode": "auto", "auto_mode_initial": "aggressive"}
    read(tmp_path, "aios", begins).config()  # it is refused, and no mistake
    with pytest.raises(octl.config.ConfigError, match="auto_mode_initial"):
        read(tmp_path, "aios", begins | {"auto_mode_initial": "bold"}).config()


def test_library_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be 'trainner' or 'aios'"):
        octl.config.foreign(tmp_path, "lightning")  # pyright: ignore[reportArgumentType]
