"""Has the traffic moved away from what a router was trained on? Then its hint is to train again, on newer rows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

MIN_SCORES = 200
TOLERATED = 0.15  # a shift of the distribution below this changes few decisions, whatever its significance
CRITICAL = 1.95  # of the Kolmogorov-Smirnov statistic times sqrt(n): one false alarm in a thousand looks


class Drift(NamedTuple):
    """``distance`` is the largest difference between the two cumulative distributions, 0 (same) to 1 (disjoint)."""

    distance: float
    scores: int
    retrain: bool

    @property
    def hint(self) -> str | None:
        """What to tell the user, or ``None`` when there is nothing to tell."""
        if not self.retrain:
            return None
        return (
            f"the last {self.scores} scores are distributed unlike those of the training rows "
            f"(distance {self.distance:.2f}): train the router again on newer rows"
        )


def drift(quantiles: Sequence[float], live: Sequence[float]) -> Drift:
    """Compare live scores with the training quantiles (``Learned.quantiles``) by the Kolmogorov-Smirnov distance."""
    if len(live) < MIN_SCORES or len(quantiles) < 2:
        return Drift(0.0, len(live), retrain=False)
    known, seen = sorted(quantiles), sorted(live)
    distance = max(
        abs(bisect_right(known, score) / len(known) - bisect_right(seen, score) / len(seen))
        for score in (*known, *seen)
    )
    alarmed = distance > max(TOLERATED, CRITICAL / sqrt(len(live)))
    return Drift(distance, len(live), retrain=alarmed)
