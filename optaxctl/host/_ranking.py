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
        first = policies.BestN(get_metric_fn=self.rank, reverse=self.mode == "min", n=1)
        return {
            "preservation_policy": policies.AnyPreservationPolicy([first, latest]),
            "best_fn": self.rank,
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
        return {name: float(value) for name, value in measured.items()}

    def check(self, saved: Mapping[str, Any] | None, where: str) -> None:
        """Refuses to keep the best by another metric than is kept there so far.

        Args:
          saved: The metrics of a checkpoint that is there; None if it has none.
          where: The directory, for the message.
        """
        if saved and self.metric not in saved:
            kept = " or ".join(f"best={name!r}" for name in saved)
            raise ValueError(
                f"{where} keeps the best checkpoint by {', '.join(saved)}, and saving "
                f"with best={self.metric!r} would lose it. Open it with {kept}, or "
                "save to another directory."
            )

    def rank(self, metrics: Any) -> float:
        """Returns a number that is the worst where there is no finite value."""
        # Orbax would take a NaN for a rank, and drop the true best for it.
        value = float((metrics or {}).get(self.metric, math.nan))
        worst = math.inf if self.mode == "min" else -math.inf
        return value if math.isfinite(value) else worst
