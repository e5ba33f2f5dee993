"""What is learned while serving: how far each sign can be trusted, and whether the promised error holds.

No label is asked of anybody. After a miss the provider's fresh answer is compared with the answer that would have been
served; that comparison is a label. Everything here is small, numeric and serialisable.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Vector = Sequence[float]


class Interval(NamedTuple):
    """A share with its Wilson score interval (Wilson 1927)."""

    share: float
    low: float
    high: float


def wilson(bad: float, total: float, *, z: float = 1.96) -> Interval:
    """The interval for ``bad`` of ``total``; with nothing seen, nothing is known: 0 to 1."""
    if total <= 0:
        return Interval(0.0, 0.0, 1.0)
    share, squared = min(1.0, max(0.0, bad / total)), z * z
    centre = (share + squared / (2 * total)) / (1 + squared / total)
    half = z / (1 + squared / total) * math.sqrt(share * (1 - share) / total + squared / (4 * total * total))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


class OnlineLogistic:
    """Logistic regression with a Gaussian belief over its weights, updated label by label (extended Kalman filter).

    ``probability`` is the predictive mean (MacKay 1992): uncertain weights pull it towards one half, so what was never
    seen is never sure. ``forget`` < 1 lets old labels fade.
    """

    def __init__(self, weights: Vector, spread: Vector, *, forget: float = 0.9995) -> None:
        self.weights = list(weights)
        self.covariance = [[v if i == j else 0.0 for j in range(len(weights))] for i, v in enumerate(spread)]
        self._forget = forget

    def probability(self, x: Vector) -> float:
        spread = _dot(x, [_dot(row, x) for row in self.covariance])
        return _sigmoid(_dot(self.weights, x) / math.sqrt(1 + math.pi * max(0.0, spread) / 8))

    def learn(self, x: Vector, *, right: bool, weight: float = 1.0) -> None:
        p = _sigmoid(_dot(self.weights, x))
        curvature = weight * max(p * (1 - p), 1e-4)
        px = [_dot(row, x) for row in self.covariance]
        scale = curvature / (1 + curvature * _dot(x, px))
        for row, left in zip(self.covariance, px, strict=True):
            for place, right_value in enumerate(px):
                row[place] = (row[place] - left * right_value * scale) / self._forget
        error = weight * (float(right) - p)
        gain = [_dot(row, x) for row in self.covariance]
        self.weights = [w + g * error for w, g in zip(self.weights, gain, strict=True)]

    def dump(self) -> dict[str, Any]:
        return {"w": self.weights, "c": self.covariance}

    def load(self, data: Mapping[str, Any]) -> None:
        """Take over a dumped belief; one of another size (another release) is ignored."""
        weights, covariance = data["w"], data["c"]
        if len(weights) == len(self.weights) == len(covariance):
            self.weights, self.covariance = list(weights), [list(row) for row in covariance]


class WordEvidence:
    """Which words change the answer when only one of two questions has them: "tomorrow" does, "please" does not."""

    def __init__(self, *, most_words: int = 4096) -> None:
        self._seen: OrderedDict[str, list[float]] = OrderedDict()
        self._most = most_words

    def risk(self, words: Iterable[str]) -> float:
        """Log odds that the riskiest of the words changes the answer; 0 when nothing is known."""
        return max((self._odds(word) for word in words), default=0.0)

    def learn(self, words: Sequence[str], *, right: bool) -> None:
        for word in words:
            counts = self._seen.setdefault(word, [0.0, 0.0])
            counts[right] += 1 if right else 1 / len(words)  # one of them is to blame, nobody knows which
            self._seen.move_to_end(word)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def dump(self) -> dict[str, list[float]]:
        return dict(self._seen)

    def load(self, data: Mapping[str, Sequence[float]]) -> None:
        self._seen = OrderedDict((word, list(counts)) for word, counts in data.items())

    def _odds(self, word: str) -> float:
        counts = self._seen.get(word)
        return 0.0 if counts is None else math.log((counts[0] + 0.5) / (counts[1] + 0.5))


class Noise:
    """How often the comparator errs, from its own contradictions: an answer cannot agree with some members of a group
    of equal answers and disagree with others. Starts from the assumption that it errs now and then."""

    def __init__(self, *, wrong: float = 1.0, seen: float = 40.0) -> None:
        self._wrong, self._seen = wrong, seen

    @property
    def rate(self) -> float:
        return self._wrong / self._seen

    def see(self, agreed: int, total: int) -> None:
        """One answer against ``total`` members of one group."""
        if total >= 3:
            self._wrong += min(agreed, total - agreed)
            self._seen += total

    def of_majority(self, votes: int) -> float:
        """The chance that most of so many comparisons are wrong; a tie counts half."""
        rate = min(0.5, self.rate)
        ways = (
            math.comb(votes, k) * rate**k * (1 - rate) ** (votes - k) * (0.5 if 2 * k == votes else 1.0)
            for k in range((votes + 1) // 2, votes + 1)
        )
        return float(sum(ways))

    def dump(self) -> list[float]:
        return [self._wrong, self._seen]

    def load(self, data: Sequence[float]) -> None:
        self._wrong, self._seen = data


class Brake:
    """Keeps the promise: a would-be hit is served only if those at least as sure have been right often enough.

    Labels come from requests that would have been hits: all that were not served, and the audited share of those that
    were. The cut is the lowest probability above which the measured error, with its uncertainty, stays within
    ``max_error``.
    Nothing is served before there are enough labels; refuted labels raise the cut or close it, and then labels flow
    again. While the promise holds by a narrow margin (``z`` standard deviations) many hits are checked, once it holds
    by a wide one (``z_sure``) few: that is what keeps a run of luck from serving many wrong answers.
    """

    def __init__(
        self,
        max_error: float,
        *,
        audit: float = 0.02,
        window: int = 500,
        z: float = 1.15,
        z_sure: float = 2.0,
        ramp: float = 10.0,
        ramp_sure: float = 2.0,
    ) -> None:
        self.max_error, self.audit_share = max_error, audit
        self._fewest = math.ceil(2 / max_error)
        self._labels: deque[tuple[float, float]] = deque(maxlen=max(window, 3 * self._fewest))  # probability, wrong
        self._cuts = [1 - max_error / 2**step for step in range(5)]
        self._z, self._z_sure = z, z_sure
        self._ramp, self._ramp_sure = ramp, ramp_sure
        self._audited = 0
        self.cut = math.inf

    @property
    def is_open(self) -> bool:
        return math.isfinite(self.cut)

    @property
    def labels(self) -> int:
        return len(self._labels)

    @property
    def audit(self) -> float:
        """The share of hits to check by paying: much at first, little once many were right."""
        ramp = self._ramp_sure if self.is_open and self._holds(self.cut, self._z_sure) else self._ramp
        return max(self.audit_share, ramp / (ramp + self._audited))

    def measured(self, cut: float | None = None, *, z: float | None = None) -> Interval:
        """The error of would-be hits at least as sure as ``cut``."""
        low = self._cuts[0] if cut is None else cut
        wrong = [bad for probability, bad in self._labels if probability >= low]
        return wilson(sum(wrong), len(wrong), z=self._z if z is None else z)

    def learn(self, probability: float, *, right: bool, served: bool = False, noise: float = 0.0) -> None:
        """One label; ``noise`` is the chance that the label itself is wrong; ``served`` means that it was an audit."""
        if probability < self._cuts[0]:
            return
        bad = 0.0 if right else 1.0
        self._labels.append((probability, (bad - noise) / (1 - 2 * noise)))
        self._audited = self._audited + 1 if served and right else 0 if not right and served else self._audited
        self._adjust()

    def dump(self) -> dict[str, Any]:
        return {"labels": [list(label) for label in self._labels], "audited": self._audited}

    def load(self, data: Mapping[str, Any]) -> None:
        self._labels.extend((probability, bad) for probability, bad in data["labels"])
        self._audited = data["audited"]
        self._adjust()

    def _adjust(self) -> None:
        self.cut = next((cut for cut in self._cuts if self._holds(cut, self._z)), math.inf)

    def _holds(self, cut: float, z: float) -> bool:
        """Enough labels, and right often enough. A run of luck is more likely in few."""
        many = sum(probability >= cut for probability, _ in self._labels)
        return many >= self._fewest and self.measured(cut, z=z).high <= self.max_error


def _dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-40.0, min(40.0, x))))
