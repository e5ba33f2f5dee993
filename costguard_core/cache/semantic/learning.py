"""What is learned while serving: how far each feature can be trusted, and whether the promised error holds.

No label is asked of anybody. After a miss the provider's fresh answer is compared with the answer that would have been
served; that comparison is a label. Everything here is small, numeric and serialisable.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from costguard_core.util.lru import LRUMap

Vector = Sequence[float]


class Interval(NamedTuple):
    """A share with its confidence interval, all from 0 to 1."""

    share: float
    low: float
    high: float


def wilson(bad: float, total: float, *, z: float = 1.96) -> Interval:
    """The Wilson score interval for ``bad`` of ``total``; with nothing seen, nothing is known: 0 to 1.

    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    if total <= 0:
        return Interval(0.0, 0.0, 1.0)
    share, squared = min(1.0, max(0.0, bad / total)), z * z
    centre = (share + squared / (2 * total)) / (1 + squared / total)
    half = z / (1 + squared / total) * math.sqrt(share * (1 - share) / total + squared / (4 * total * total))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


class OnlineLogistic:
    """Logistic regression with a Gaussian belief over its weights, updated label by label (extended Kalman filter).

    ``forget`` < 1 lets old labels fade.
    """

    def __init__(self, weights: Vector, spread: Vector, *, forget: float = 0.9995) -> None:
        self.weights = list(weights)
        self.covariance = [[v if i == j else 0.0 for j in range(len(weights))] for i, v in enumerate(spread)]
        self._forget = forget

    def probability(self, features: Vector) -> float:
        """The predictive mean: uncertain weights pull it towards one half, so what was never seen is never sure.

        MacKay, "The Evidence Framework Applied to Classification Networks", https://doi.org/10.1162/neco.1992.4.5.720
        """
        variance = _dot(features, [_dot(row, features) for row in self.covariance])
        return _sigmoid(_dot(self.weights, features) / math.sqrt(1 + math.pi * max(0.0, variance) / 8))

    def learn(self, features: Vector, *, right: bool, weight: float = 1.0) -> None:
        """One label. ``weight`` from 0 to 1 says how far it can be trusted."""
        p = _sigmoid(_dot(self.weights, features))
        curvature = weight * max(p * (1 - p), 1e-4)
        px = [_dot(row, features) for row in self.covariance]
        scale = curvature / (1 + curvature * _dot(features, px))
        for row, left in zip(self.covariance, px, strict=True):
            for place, right_value in enumerate(px):
                row[place] = (row[place] - left * right_value * scale) / self._forget
        error = weight * (float(right) - p)
        gain = [_dot(row, features) for row in self.covariance]
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

    def __init__(self, *, max_words: int = 4096) -> None:
        self._counts: LRUMap[str, list[float]] = LRUMap(max_words)  # wrong, right

    def risk(self, words: Iterable[str]) -> float:
        """Log odds that the riskiest of the words changes the answer; 0 when nothing is known."""
        return max((self._log_odds(word) for word in words), default=0.0)

    def learn(self, words: Sequence[str], *, right: bool) -> None:
        """One label of a pair that differs in these words. Of a wrong pair each word takes an equal share of the
        blame, because nobody knows which one changed the answer."""
        for word in words:
            counts = self._counts.setdefault(word, [0.0, 0.0])
            counts[right] += 1 if right else 1 / len(words)

    def dump(self) -> dict[str, list[float]]:
        return dict(self._counts.items())

    def load(self, data: Mapping[str, Sequence[float]]) -> None:
        for word, counts in data.items():
            self._counts.put(word, list(counts))

    def _log_odds(self, word: str) -> float:
        counts = self._counts.get(word)
        return 0.0 if counts is None else math.log((counts[0] + 0.5) / (counts[1] + 0.5))


class ComparatorNoise:
    """How often the comparator errs, from its own contradictions: an answer cannot agree with some members of a group
    of equal answers and disagree with others. Starts from the assumption that 1 of 40 comparisons is wrong."""

    def __init__(self, *, wrong: float = 1.0, seen: float = 40.0) -> None:
        self._wrong, self._seen = wrong, seen

    @property
    def rate(self) -> float:
        """Share of comparisons that are wrong."""
        return self._wrong / self._seen

    def observe(self, agreed: int, total: int) -> None:
        """One answer agreed with ``agreed`` of the ``total`` members of one group that it was compared with."""
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


class ErrorController:
    """Keeps the promise: a would-be hit is served only if those at least as probable have been right often enough.

    Labels come from requests that would have been hits: all that were not served, and the audited share of those that
    were. The cutoff is the lowest probability above which the measured error, with its uncertainty, stays within
    ``max_error``. Nothing is served before there are enough labels; wrong ones raise the cutoff or close it, and then
    labels flow again. While the promise holds by a narrow margin (``z`` standard deviations) many hits are audited,
    once it holds by a wide one (``z_sure``) few: that keeps a run of luck from serving many wrong answers.

    Args:
        max_error: share of hits that may be wrong.
        audit: smallest share of hits that is audited.
        window: how many of the last labels count.
        z, z_sure: one-sided margins in standard deviations; tuned on CLINC150, HWU64 and banking77.
        ramp, ramp_sure: audits go down as ``ramp / (ramp + audits without an error)``; tuned on the same sets.
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
        self.max_error, self.audit = max_error, audit
        self._min_labels = math.ceil(2 / max_error)
        # Probability, and 1 for a wrong answer, corrected for the noise of the label (so perhaps below 0 or above 1).
        self._labels: deque[tuple[float, float]] = deque(maxlen=max(window, 3 * self._min_labels))
        self._cutoffs = [1 - max_error / 2**step for step in range(5)]
        self._z, self._z_sure = z, z_sure
        self._ramp, self._ramp_sure = ramp, ramp_sure
        self._audits_without_error = 0
        self.cutoff = math.inf

    @property
    def is_open(self) -> bool:
        return math.isfinite(self.cutoff)

    @property
    def labels(self) -> int:
        """How many labels count now."""
        return len(self._labels)

    @property
    def audit_share(self) -> float:
        """The share of hits to pay for anyway: much at first, little once many were right."""
        ramp = self._ramp_sure if self.is_open and self._holds(self.cutoff, self._z_sure) else self._ramp
        return max(self.audit, ramp / (ramp + self._audits_without_error))

    def measured(self, cutoff: float | None = None, *, z: float | None = None) -> Interval:
        """The error of would-be hits of at least this probability; without one, of all that labels are kept of."""
        low = self._cutoffs[0] if cutoff is None else cutoff
        wrong = [bad for probability, bad in self._labels if probability >= low]
        return wilson(sum(wrong), len(wrong), z=self._z if z is None else z)

    def learn(self, probability: float, *, right: bool, audited: bool = False, noise: float = 0.0) -> None:
        """One label. ``audited``: it would have been served. ``noise``: the chance that the label itself is wrong."""
        if probability < self._cutoffs[0]:
            return
        bad = 0.0 if right else 1.0
        self._labels.append((probability, (bad - noise) / (1 - 2 * noise)))
        if audited:
            self._audits_without_error = self._audits_without_error + 1 if right else 0
        self._adjust()

    def dump(self) -> dict[str, Any]:
        return {"labels": [list(label) for label in self._labels], "audited": self._audits_without_error}

    def load(self, data: Mapping[str, Any]) -> None:
        self._labels.extend((probability, bad) for probability, bad in data["labels"])
        self._audits_without_error = data["audited"]
        self._adjust()

    def _adjust(self) -> None:
        self.cutoff = next((cutoff for cutoff in self._cutoffs if self._holds(cutoff, self._z)), math.inf)

    def _holds(self, cutoff: float, z: float) -> bool:
        """Whether there are enough labels, and right often enough."""
        enough = sum(probability >= cutoff for probability, _ in self._labels) >= self._min_labels
        return enough and self.measured(cutoff, z=z).high <= self.max_error


class WordingRecord:
    """From which similarity questions with nothing that may matter between them had the same answer.

    That is believed once enough labels were right for the promise to hold, by the same bound as in
    :class:`ErrorController`. Until then it is believed from .9 on while a first few labels were right and none wrong,
    and most such hits are audited. Audits, which are of a share of the hits, count for those that were not audited.
    """

    def __init__(self, max_error: float, *, audit: float) -> None:
        self._max_error, self._audit = max_error, audit
        self._counts = {step: [0.0, 0.0] for step in _WORDING_STEPS}  # similarity at least so high → right, wrong
        self._audits_without_error = 0

    @property
    def similarity(self) -> float:
        """The lowest similarity that is believed; infinite while none is."""
        return min((step for step in _WORDING_STEPS if self._is_trusted(step)), default=math.inf)

    @property
    def audit_share(self) -> float:
        ramp = _WORDING_RAMP_SURE if any(self._holds(step) for step in _WORDING_STEPS) else _WORDING_RAMP
        return max(self._audit, ramp / (ramp + self._audits_without_error))

    def learn(self, similarity: float, *, right: bool, audited_share: float | None = None) -> None:
        """One label. ``audited_share``: it would have been a hit, and such hits are audited this often."""
        weight = 1.0 if audited_share is None else 1 / audited_share
        for step, counts in self._counts.items():
            if similarity >= step:
                counts[not right] += weight
        if audited_share is not None:
            self._audits_without_error = self._audits_without_error + 1 if right else 0

    def dump(self) -> list[Any]:
        return [list(self._counts.values()), self._audits_without_error]

    def load(self, data: Sequence[Any]) -> None:
        counts, self._audits_without_error = data
        if len(counts) == len(_WORDING_STEPS):
            self._counts = {step: list(pair) for step, pair in zip(_WORDING_STEPS, counts, strict=True)}

    def _is_trusted(self, step: float) -> bool:
        right, wrong = self._counts[step]
        is_unspoken_against = step == _WORDING_STEPS[0] and right >= _WORDING_LABELS and not wrong
        return is_unspoken_against or self._holds(step)

    def _holds(self, step: float) -> bool:
        right, wrong = self._counts[step]
        return wilson(wrong, right + wrong, z=_WORDING_Z).high <= self._max_error and self._holds_between(step)

    def _holds_between(self, step: float) -> bool:
        """Whether pairs between this step and the next higher one were right too: more similar ones do not vouch for
        them."""
        above = self._counts.get(_STEP_ABOVE.get(step, math.inf), (0.0, 0.0))
        right, wrong = (count - higher for count, higher in zip(self._counts[step], above, strict=True))
        return right >= _WORDING_LABELS and wrong <= self._max_error * (right + wrong)


_WORDING_STEPS = (0.9, 0.85, 0.8, 0.75, 0.7)
_STEP_ABOVE = dict(itertools.pairwise(reversed(_WORDING_STEPS)))
_WORDING_LABELS = 8  # right and none wrong, before it is believed; a choice
# Audits without an error after which half of these hits are audited, before and after the promise holds; a choice.
_WORDING_RAMP, _WORDING_RAMP_SURE = 30.0, 3.0
_WORDING_Z = 1.15  # as in :class:`ErrorController`


class VerifierRecord:
    """How often a verifier was right, by what the answers said afterwards, and what its word is therefore worth.

    Starts as if it had called 1 of 20 different pairs the same, and 2 of 20 equal ones different. Audits of its hits,
    which are a share of them, count for those that were not audited.
    """

    def __init__(self) -> None:
        self._same, self._different = [2.0, 18.0], [19.0, 1.0]  # times it said no, and yes
        self._audits_without_error = 0
        self._hits = self._expected_wrong = 0.0

    @property
    def false_yes(self) -> float:
        """The share of different pairs that it calls the same."""
        return self._different[1] / sum(self._different)

    @property
    def true_yes(self) -> float:
        """The share of equal pairs that it calls the same."""
        return self._same[1] / sum(self._same)

    def probability(self, prior: float, *, said: bool | None) -> float:
        """That a pair wants the same answer, after what was said of it: Bayes' rule in odds."""
        if said is None:
            return prior
        ratio = self.true_yes / self.false_yes if said else (1 - self.true_yes) / (1 - self.false_yes)
        prior = min(max(prior, 1e-6), 1 - 1e-6)
        odds = prior / (1 - prior) * ratio
        return odds / (1 + odds)

    def needed(self, max_error: float) -> float:
        """How sure a hit must be for the mean of those so far to keep the promise: one may be less sure than promised
        where others were more."""
        allowed = max_error * (self._hits + 1) - self._expected_wrong
        return max(1 - _MOST_UNSURE * max_error, 1 - max(0.0, allowed))

    def served(self, probability: float) -> None:
        """A hit that is right with this probability."""
        self._hits = _KEPT_OF_HITS * (self._hits + 1)
        self._expected_wrong = _KEPT_OF_HITS * (self._expected_wrong + 1 - probability)

    def audit_share(self, least: float) -> float:
        """The share of its hits to pay for anyway: much at first, little once many were right."""
        return max(least, _VERIFIER_RAMP / (_VERIFIER_RAMP + self._audits_without_error))

    def learn(self, *, said: bool, right: bool, audited_share: float | None = None) -> None:
        """What was said of a pair, and what the answers said. ``audited_share``: it would have been a hit, and such
        hits are audited this often."""
        weight = 1.0 if audited_share is None else 1 / audited_share
        (self._same if right else self._different)[said] += weight
        if audited_share is not None:
            self._audits_without_error = self._audits_without_error + 1 if right else 0

    def dump(self) -> list[Any]:
        return [self._same, self._different, self._audits_without_error]

    def load(self, data: Sequence[Any]) -> None:
        same, different, audits = data
        self._same, self._different, self._audits_without_error = list(same), list(different), int(audits)


_MOST_UNSURE = 2.5  # a hit may be this many times less sure than promised, at most; a choice
_KEPT_OF_HITS = 0.99  # so that a hundred hits count
_VERIFIER_RAMP = 4.0  # audits without an error after which half of its hits are audited; a choice


def _dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-40.0, min(40.0, x))))
