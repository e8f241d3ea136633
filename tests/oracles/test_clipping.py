"""Every way to clip against the library that it comes from."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.oracles import (
    _adagc,
    _band,
    _kill_loss_spike,
    _llmc,
    _norm_history,
    _skips,
    _zclip,
)
from tests.oracles._cases import Case, Verdict, content, settle, unproven

JUDGES: dict[str, Callable[..., Verdict]] = {
    "zclip": _zclip.judge,
    "adagc_formula": _adagc.judge,
    "llmc_outlier_z": _llmc.judge,
    "llmfoundry_KillLossSpike": _kill_loss_spike.judge,
    "trainner_AdaptiveGradientClipping": _band.judge,
    **dict.fromkeys(_norm_history.ADAPTERS, _norm_history.judge),
    **dict.fromkeys(_skips.RULES, _skips.judge),
}


@pytest.mark.oldest
def test_clipping_follows_the_library(
    oracles: Path, pytestconfig: pytest.Config
) -> None:
    file = content(oracles, "clipping.json.gz")
    sequences = {**file["norm_sequences"], **file["loss_sequences"]}

    def judge(case: Case) -> Verdict:
        if case.library not in JUDGES:
            return unproven(f"nothing here judges {case.library}")
        names = filter(None, (case.inputs.get("norms"), case.inputs.get("losses")))
        return JUDGES[case.library](case, *(sequences[name] for name in names))

    cases = [Case(c["reference"], c["id"], c["config"], c, c) for c in file["cases"]]
    settle(pytestconfig, cases, judge)
