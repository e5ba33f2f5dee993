"""Serve a stored answer or pay for a new one? A pure function of the question, its neighbours and the evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from costguard_core.cache.semantic.rules.language import is_english
from costguard_core.cache.semantic.rules.lexical import veto
from costguard_core.cache.semantic.rules.phrase import phrase, same_wording, stem
from costguard_core.cache.semantic.rules.symbols import apart

# Below this cosine two short questions have nothing to do with each other, in every embedding model measured.
FLOOR = 0.6
_NEAR = 0.10
_MARGIN = 0.4


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored question near to the one asked. ``group`` names its answer: equal groups say the same.

    ``right`` and ``wrong`` count how often this entry's answer agreed with a fresh one. ``blocked``: somebody said
    that it does not answer this question.
    """

    id: str
    question: str
    similarity: float
    group: str
    right: int = 0
    wrong: int = 0
    blocked: bool = False


class Candidate(NamedTuple):
    """The neighbour whose answer would be served, and the others that speak for or against it."""

    best: Neighbour
    others: Sequence[Neighbour]
    refused: Sequence[tuple[Neighbour, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do and why. ``neighbour`` is the best candidate, also when it is not served.

    ``probability`` is that its answer is right (``None`` where the rule does not estimate one). ``signs`` are what the
    estimate was made from, ``differing`` the words that only one of the two questions has.
    """

    hit: bool
    reason: str
    neighbour: Neighbour | None = None
    probability: float | None = None
    signs: tuple[float, ...] = ()
    differing: tuple[str, ...] = ()
    refused: tuple[tuple[Neighbour, str], ...] = ()


class Estimate(Protocol):
    """What the calibrated rule asks of the evidence."""

    def probability(self, signs: Sequence[float]) -> float: ...
    def risk(self, words: Sequence[str]) -> float: ...
    @property
    def cut(self) -> float: ...


def guarded(question: str, neighbours: Sequence[Neighbour], *, threshold: float) -> Verdict:
    """Similar enough, and nothing in the words speaks against it."""
    return _identical(question, neighbours) or _over(threshold, question, neighbours)


def calibrated(question: str, neighbours: Sequence[Neighbour], evidence: Estimate) -> Verdict:
    """As sure as the promised error needs, by what neighbouring answers and the evidence so far say."""
    same = _identical(question, neighbours)
    # A closing mark can matter ("Let's go." / "Let's go?"): while nothing may be promised, only the very same text.
    if same is not None and (math.isfinite(evidence.cut) or _is_the_text(question, same)):
        return same
    found = candidate(question, neighbours)
    if found is None:
        return _nothing(question, neighbours)
    differing = words_apart(question, found.best.question)
    signs = signs_of(question, found, evidence.risk(differing), differing)
    sure = evidence.probability(signs)
    hit = sure >= evidence.cut
    needed = (
        f"needs {evidence.cut:.3f}" if math.isfinite(evidence.cut) else "not enough evidence yet to promise the error"
    )
    reason = f"{sure:.3f} sure" if hit else f"only {sure:.3f} sure: {needed}"
    return Verdict(hit, reason, found.best, sure, signs, differing, tuple(found.refused))


def candidate(question: str, neighbours: Sequence[Neighbour]) -> Candidate | None:
    """The nearest neighbour that nothing speaks against."""
    refused: list[tuple[Neighbour, str]] = []
    for place, neighbour in enumerate(neighbours):
        if neighbour.similarity < FLOOR:
            break
        reason = objection(question, neighbour)
        if reason is None:
            return Candidate(neighbour, [*neighbours[:place], *neighbours[place + 1 :]], refused)
        refused.append((neighbour, reason))
    return None


def objection(question: str, neighbour: Neighbour) -> str | None:
    """What speaks against giving this neighbour's answer, whatever the similarity."""
    if neighbour.blocked:
        return "refuted for this question"
    return veto(question, neighbour.question) or apart(question, neighbour.question)


SIGNS = (
    "always one",
    "similarity",
    "very high similarity",
    "lead over another answer",
    "share that agrees",
    "times right",
    "times wrong",
    "words in common",
    "number that agree",
    "risk of the words apart",
    "no word apart",
)


def signs_of(question: str, found: Candidate, risk: float, differing: Sequence[str]) -> tuple[float, ...]:
    """The numbers of :data:`SIGNS`, scaled so that one weight is about one."""
    best, others = found.best, found.others
    contrary = [other.similarity for other in others if other.group != best.group]
    near = [other for other in others if best.similarity - other.similarity <= _NEAR]
    agree = sum(other.group == best.group for other in near)
    lead = best.similarity - max(contrary) if contrary else _MARGIN
    return (
        1.0,
        10 * best.similarity - 8,
        10 * max(0.0, best.similarity - 0.9),
        10 * max(-0.2, min(_MARGIN, lead)),
        agree / len(near) if near else 0.0,
        math.log1p(best.right),
        math.log1p(best.wrong),
        words_in_common(question, best.question),
        math.log1p(agree),
        risk,
        float(not differing),
    )


def words_apart(a: str, b: str) -> tuple[str, ...]:
    """Stems that only one of two questions has."""
    left, right = ({stem(word) for word in phrase(text).words} for text in (a, b))
    return tuple(sorted(left ^ right))


def words_in_common(a: str, b: str) -> float:
    """Jaccard index of the words with content."""
    left, right = set(phrase(a).content), set(phrase(b).content)
    return len(left & right) / len(left | right) if left or right else 1.0


def _identical(question: str, neighbours: Sequence[Neighbour]) -> Verdict | None:
    for neighbour in neighbours:
        if not neighbour.blocked and same_wording(question, neighbour.question):
            return Verdict(True, "the same question", neighbour, 1.0)
    return None


def _is_the_text(question: str, same: Verdict) -> bool:
    return same.neighbour is not None and question.split() == same.neighbour.question.split()


def _over(threshold: float, question: str, neighbours: Sequence[Neighbour]) -> Verdict:
    found = candidate(question, neighbours)
    if found is None:
        return _nothing(question, neighbours)
    best, refused = found.best, tuple(found.refused)
    if best.similarity < threshold:
        return Verdict(False, f"similarity {best.similarity:.3f} is below {threshold}", best, refused=refused)
    if not (is_english(question) and is_english(best.question)):
        return Verdict(False, "not English: what speaks against it cannot be read", best, refused=refused)
    return Verdict(True, f"similarity {best.similarity:.3f}, and nothing against it", best, refused=refused)


def _nothing(question: str, neighbours: Sequence[Neighbour]) -> Verdict:
    near = [neighbour for neighbour in neighbours if neighbour.similarity >= FLOOR]
    if not near:
        return Verdict(False, "nothing similar is stored")
    refused = tuple((neighbour, objection(question, neighbour) or "") for neighbour in near)
    return Verdict(False, refused[0][1], near[0], refused=refused)
