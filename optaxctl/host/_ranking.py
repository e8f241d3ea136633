"""Which checkpoints to keep: the last ones, and the best."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from optaxctl._core.checks import did_you_mean
from optaxctl._core.types import Mode


class Ranking(NamedTuple):
    """Ranks checkpoints by a metric, if there is one."""

    metric: str | None
    mode: Mode

    def options(self, policies: Any, keep: int) -> dict[str, Any]:
        """Returns the options of Orbax that keep the last, and the best."""
        latest = policies.LatestN(keep)
        if self.metric is None:
            return {"preservation_policy": latest}
        first = policies.BestN(
            get_metric_fn=self._rank, reverse=self.mode == "min", n=1
        )
        return {
            "preservation_policy": policies.AnyPreservationPolicy([first, latest]),
            "best_fn": self._rank,
            "best_mode": self.mode,
        }

    def metrics(self, given: Mapping[str, Any] | None) -> dict[str, float] | None:
        """Returns what to save beside a checkpoint so that it can be ranked.

        Raises:
          ValueError: If the metric is not among those given.
        """
        if self.metric is None:
            return None
        measured = {self.metric: math.nan} if given is None else given
        if self.metric not in measured:
            raise ValueError(
                f"`save` got the metrics {', '.join(measured) or 'none'} and needs "
                f"`{self.metric}`, which tells the best checkpoint."
                + did_you_mean(self.metric, measured)
            )
        return {self.metric: float(measured[self.metric])}

    def _rank(self, metrics: Any) -> float:
        # Orbax would take a NaN for a rank, and drop the true best for it.
        value = float(metrics[self.metric])
        worst = math.inf if self.mode == "min" else -math.inf
        return value if math.isfinite(value) else worst
