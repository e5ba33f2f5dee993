"""The cut: which scores go to the stronger tier. A rolling quantile, because no threshold travels.

A length threshold set for 30 % strong calls on one data set sends 83 % of the next and 99.9 % of a third; the rank of a
score among the last few hundred does not have that problem, needs no calibration set and follows the traffic.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

WINDOW = 400  # recent scores that a rank is taken among
PRIOR = 50  # how many scores the warm start counts for
PATIENCE = 100  # requests over which a realised share that drifted from its target is pulled back


class Key(NamedTuple):
    """A score with a tie-breaker drawn from the text: equal scores are told apart, the same text the same way."""

    score: float
    tie: int


def key(score: float, text: str) -> Key:
    """The sortable form of a score."""
    return Key(score, crc32(text[:2000].encode("utf-8", "surrogatepass")))


class RollingCut:
    """Ranks scores among the last :data:`WINDOW`. Not locked: its owner serialises access.

    ``seed`` are scores known beforehand (quantiles of a trained scorer); they count as :data:`PRIOR` scores and leave
    the window one by one as real ones arrive.
    """

    def __init__(self, *, window: int = WINDOW, seed: Iterable[float] = ()) -> None:
        self._window = window
        self._recent: deque[Key] = deque()
        self._sorted: list[Key] = []
        for index, score in enumerate(_thinned(tuple(seed), PRIOR)):
            self.add(Key(score, index))

    def __len__(self) -> int:
        return len(self._recent)

    def add(self, score: Key) -> None:
        """Remember a score; the oldest one leaves when the window is full."""
        self._recent.append(score)
        insort(self._sorted, score)
        if len(self._recent) > self._window:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]

    def rank(self, score: Key) -> float:
        """Share of the remembered scores below this one, 0..1. 0.5 when nothing is remembered."""
        if not self._sorted:
            return 0.5
        below, upto = bisect_left(self._sorted, score), bisect_right(self._sorted, score)
        return (below + upto) / 2 / len(self._sorted)

    def above(self, share: float) -> float | None:
        """The score that ``share`` (0..1) of the remembered ones exceed; ``None`` when nothing is remembered."""
        if not self._sorted:
            return None
        place = min(len(self._sorted) - 1, max(0, round((1 - share) * len(self._sorted))))
        return self._sorted[place].score


class Shares:
    """Holds realised shares to their targets: what was sent too often lately is sent a little less often now."""

    def __init__(self, *, window: int = WINDOW) -> None:
        self._recent: deque[bool] = deque(maxlen=window)

    def add(self, *, strong: bool) -> None:
        self._recent.append(strong)

    @property
    def realised(self) -> float | None:
        """The share of remembered requests that went up."""
        return sum(self._recent) / len(self._recent) if self._recent else None

    def aimed(self, target: float) -> float:
        """The share to cut at so that the realised one comes back to ``target``. 0 and 1 stay what they are."""
        if not self._recent or target in (0.0, 1.0):
            return target
        owed = target * len(self._recent) - sum(self._recent)
        return min(1.0, max(0.0, target + owed / PATIENCE))


def _thinned(scores: tuple[float, ...], count: int) -> tuple[float, ...]:
    if len(scores) <= count:
        return scores
    return tuple(scores[(2 * place + 1) * len(scores) // (2 * count)] for place in range(count))
