"""Whether traffic has moved away from what a router was trained on, so that it should be trained again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

MIN_SCORES = 200  # fewer say nothing (a choice: half of the window that scores are ranked in)
TOLERATED = 0.15  # a distance below this changes few decisions, however significant it is (a choice)
CRITICAL = 1.95  # of the Kolmogorov-Smirnov distance times sqrt(n): one false alarm in a thousand looks


class Drift(NamedTuple):
    """How far recent scores are from those of the training rows.

    Attributes:
        distance: the largest difference between the two cumulative distributions, 0 (the same) to 1 (disjoint).
        scores: how many recent scores were compared.
        retrain: the distance is large enough to train again.
    """

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
    """The Kolmogorov-Smirnov distance between scores.

    Formula and critical value: https://en.wikipedia.org/wiki/Kolmogorov%E2%80%93Smirnov_test.

    Args:
        quantiles: of the scores of the training rows (``Learned.quantiles``).
        live: recent scores.
    """
    if len(live) < MIN_SCORES or len(quantiles) < 2:
        return Drift(0.0, len(live), retrain=False)
    known, recent = sorted(quantiles), sorted(live)
    distance = max(
        abs(bisect_right(known, score) / len(known) - bisect_right(recent, score) / len(recent))
        for score in (*known, *recent)
    )
    return Drift(distance, len(live), retrain=distance > max(TOLERATED, CRITICAL / sqrt(len(live))))
