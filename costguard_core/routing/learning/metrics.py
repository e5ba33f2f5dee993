"""How good a ranking of requests is at saving strong calls: the measures of RouteLLM.

Defined in https://arxiv.org/abs/2406.18665, section 4. The rows are sorted by score, and the strong model answers the
first *share* of them. The gap recovered (PGR) at a share is ``(quality - weak) / (strong - weak)``; APGR is its mean
over all shares (.5 for a random order); CPT(x) is the smallest share in percent that recovers x percent of the gap.
Rows with equal scores count as in random order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from typing import NamedTuple

Z95 = 1.959964  # two-sided 95 % of the normal distribution


class Interval(NamedTuple):
    """A value with its 95 % confidence interval, from ``low`` to ``high``."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Point(NamedTuple):
    """A point of the quality-cost curve.

    Attributes:
        share: part (0..1) of the requests that the strong model answers.
        quality: mean quality of all answers then.
    """

    share: float
    quality: Interval


@dataclass(frozen=True, slots=True)
class Curve:
    """The quality-cost curve of one ranking.

    Attributes:
        gains: quality of the strong answer minus that of the weak one, in ranked order; of equal scores, their mean.
        weak: mean quality of the weak answers.
        strong: mean quality of the strong answers.
        recovered: mean gain when the first 0, 1, 2 … rows go to the strong model.
    """

    gains: tuple[float, ...]
    weak: float
    strong: float
    recovered: tuple[float, ...]

    @classmethod
    def of(cls, scores: Sequence[float], weak: Sequence[float], strong: Sequence[float]) -> Curve:
        """The curve of ``scores`` (higher goes to the strong model) on rows of known quality (0..1)."""
        rows = sorted(zip(scores, (s - w for s, w in zip(strong, weak, strict=True)), strict=True), reverse=True)
        gains = tuple(_ties_averaged(rows))
        return cls(gains, _mean(weak), _mean(strong), tuple(_running(gains)))

    @property
    def gap(self) -> float:
        """Mean quality of the strong model minus that of the weak one."""
        return self.strong - self.weak

    @property
    def apgr(self) -> Interval:
        """Average gap recovered, with a normal interval for the rank covariance of score and gain.

        Written as 0.5 + lift/gap it is a mean over rows, so its error is that of a mean. ``nan`` without a gap.
        """
        n = len(self.gains)
        if n < 2 or self.gap <= 0:
            return Interval(float("nan"), float("-inf"), float("inf"))
        terms = [(gain - self.gap) * (0.5 - (rank + 0.5) / n) for rank, gain in enumerate(self.gains)]
        lift = _mean(terms)
        error = Z95 * sqrt(sum((term - lift) ** 2 for term in terms) / (n - 1) / n)
        return Interval(0.5 + lift / self.gap, 0.5 + (lift - error) / self.gap, 0.5 + (lift + error) / self.gap)

    def cpt(self, percent: float) -> float:
        """Percent of strong calls that recover ``percent`` of the gap (100 when nothing less does)."""
        return self._first(self.weak + self.gap * percent / 100)

    def calls_for(self, fraction: float) -> float:
        """Percent of strong calls that reach ``fraction`` of the strong model's own quality."""
        return self._first(self.strong * fraction)

    def quality_at(self, share: float) -> float:
        """Mean quality when the strong model answers the ``share`` (0..1) of highest score."""
        return self.weak + self.recovered[round(share * len(self.gains))]

    def _first(self, quality: float) -> float:
        wanted = quality - self.weak - 1e-12
        reached = (rank for rank, gain in enumerate(self.recovered) if gain >= wanted)
        return 100 * next(reached, len(self.gains)) / max(1, len(self.gains))


def points(
    scores: Sequence[float], weak: Sequence[float], strong: Sequence[float], *, steps: int = 10
) -> tuple[Point, ...]:
    """The curve at evenly spaced shares, each quality with the 95 % interval of a mean over rows."""
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    cuts = (round(step * len(order) / steps) for step in range(steps + 1))
    return tuple(
        Point(step / steps, mean_interval([strong[row] if rank < cut else weak[row] for rank, row in enumerate(order)]))
        for step, cut in enumerate(cuts)
    )


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean and its normal 95 % interval."""
    if len(values) < 2:
        return Interval(_mean(values), float("-inf"), float("inf"))
    mean = _mean(values)
    error = Z95 * sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    return Interval(mean, mean - error, mean + error)


def _ties_averaged(rows: Sequence[tuple[float, float]]) -> Iterator[float]:
    for _, tied in groupby(rows, key=lambda row: row[0]):
        gains = [gain for _, gain in tied]
        yield from [_mean(gains)] * len(gains)


def _running(gains: Sequence[float]) -> Iterator[float]:
    total = 0.0
    yield total
    for gain in gains:
        total += gain
        yield total / len(gains)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
