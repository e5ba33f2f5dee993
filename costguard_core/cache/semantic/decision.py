"""Serve a stored answer or pay for a new one? A pure function of the question, its neighbours and the evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from costguard_core.cache.language.detection import is_english
from costguard_core.cache.semantic.rules import frame, lexical, substitution, symbols
from costguard_core.cache.semantic.rules.phrase import phrase, same_wording, stem

# Below this cosine two short questions have nothing to do with each other, in every embedding model measured
# (wordllama and MiniLM on CLINC150, HWU64 and banking77).
MIN_SIMILARITY = 0.6
_NEAR = 0.10  # cosine distance behind the best within which neighbours have a say; tuned on the same sets
_MAX_LEAD = 0.4  # a larger lead over another answer proves no more; also the lead where no other answer is near


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored question near to the one asked.

    Attributes:
        id: of its entry.
        question: as it was asked.
        similarity: cosine to the question asked now.
        group: names its answer: equal groups say the same.
        right, wrong: how often this entry's answer agreed with a fresh one, and did not.
        blocked: somebody said that it does not answer this question.
    """

    id: str
    question: str
    similarity: float
    group: str
    right: int = 0
    wrong: int = 0
    blocked: bool = False


class Candidate(NamedTuple):
    """The neighbour whose answer would be served, the others, and those that were refused with the reason."""

    best: Neighbour
    others: Sequence[Neighbour]
    refused: Sequence[tuple[Neighbour, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do and why.

    Attributes:
        hit: whether to serve.
        reason: for people.
        neighbour: the best candidate, also when it is not served.
        probability: that its answer is right; ``None`` where the rule does not estimate one.
        features: what the estimate was made from, in the order of :data:`FEATURES`.
        differing: stems that only one of the two questions has.
        refused: neighbours that something speaks against, with the reason.
    """

    hit: bool
    reason: str
    neighbour: Neighbour | None = None
    probability: float | None = None
    features: tuple[float, ...] = ()
    differing: tuple[str, ...] = ()
    refused: tuple[tuple[Neighbour, str], ...] = ()


class Estimate(Protocol):
    """What the calibrated rule asks of the evidence."""

    def probability(self, features: Sequence[float]) -> float:
        """That the candidate's answer is right."""

    def word_risk(self, words: Sequence[str]) -> float:
        """Log odds that one of the words changes the answer."""

    @property
    def cutoff(self) -> float:
        """The lowest probability that may be served; infinite while nothing may."""


def guarded(question: str, neighbours: Sequence[Neighbour], *, threshold: float) -> Verdict:
    """Serve the nearest neighbour that nothing speaks against, if its cosine is at least ``threshold``."""
    return _identical(question, neighbours) or _above_threshold(threshold, question, neighbours)


def calibrated(question: str, neighbours: Sequence[Neighbour], evidence: Estimate) -> Verdict:
    """Serve if neighbouring answers and the evidence so far make it as sure as the promised error needs."""
    same = _identical(question, neighbours)
    # A closing mark can matter ("Let's go." / "Let's go?"): while nothing may be promised, only the very same text.
    if same is not None and (math.isfinite(evidence.cutoff) or _is_same_text(question, same)):
        return same
    found = candidate(question, neighbours)
    if found is None:
        return _no_candidate(question, neighbours)
    differing = differing_stems(question, found.best.question)
    features = features_of(question, found, evidence.word_risk(differing), differing)
    probability = evidence.probability(features)
    hit = probability >= evidence.cutoff
    needed = (
        f"needs {evidence.cutoff:.3f}"
        if math.isfinite(evidence.cutoff)
        else "not enough evidence yet to promise the error"
    )
    reason = f"{probability:.3f} sure" if hit else f"only {probability:.3f} sure: {needed}"
    return Verdict(hit, reason, found.best, probability, features, differing, tuple(found.refused))


def candidate(question: str, neighbours: Sequence[Neighbour]) -> Candidate | None:
    """The nearest neighbour that nothing speaks against. ``neighbours`` are nearest first."""
    refused: list[tuple[Neighbour, str]] = []
    for place, neighbour in enumerate(neighbours):
        if neighbour.similarity < MIN_SIMILARITY:
            break
        reason = objection(question, neighbour)
        if reason is None:
            return Candidate(neighbour, [*neighbours[:place], *neighbours[place + 1 :]], refused)
        refused.append((neighbour, reason))
    return None


def objection(question: str, neighbour: Neighbour) -> str | None:
    """What speaks against giving this neighbour's answer, whatever the similarity; ``None`` if nothing does."""
    if neighbour.blocked:
        return "refuted for this question"
    asked, stored = phrase(question), phrase(neighbour.question)
    return (
        lexical.veto(question, neighbour.question)
        or symbols.veto(question, neighbour.question)
        or frame.veto(asked, stored)
    )


FEATURES = (
    "constant",
    "similarity",
    "very high similarity",
    "lead over another answer",
    "share of near neighbours with the same answer",
    "log of times right",
    "log of times wrong",
    "words in common",
    "log of near neighbours with the same answer",
    "risk of the differing words",
    "no differing word",
)


def features_of(question: str, found: Candidate, risk: float, differing: Sequence[str]) -> tuple[float, ...]:
    """The numbers of :data:`FEATURES`, scaled so that each weight is about one."""
    best, others = found.best, found.others
    other_answers = [other.similarity for other in others if other.group != best.group]
    near = [other for other in others if best.similarity - other.similarity <= _NEAR]
    agreeing = sum(other.group == best.group for other in near)
    lead = best.similarity - max(other_answers) if other_answers else _MAX_LEAD
    return (
        1.0,
        10 * best.similarity - 8,
        10 * max(0.0, best.similarity - 0.9),
        10 * max(-0.2, min(_MAX_LEAD, lead)),
        agreeing / len(near) if near else 0.0,
        math.log1p(best.right),
        math.log1p(best.wrong),
        word_overlap(question, best.question),
        math.log1p(agreeing),
        risk,
        float(not differing),
    )


def differing_stems(a: str, b: str) -> tuple[str, ...]:
    """Stems that only one of two questions has, sorted."""
    left, right = ({stem(word) for word in phrase(text).words} for text in (a, b))
    return tuple(sorted(left ^ right))


def word_overlap(a: str, b: str) -> float:
    """Jaccard index of the content words; 1.0 if neither has any."""
    left, right = set(phrase(a).content), set(phrase(b).content)
    return len(left & right) / len(left | right) if left or right else 1.0


def _identical(question: str, neighbours: Sequence[Neighbour]) -> Verdict | None:
    for neighbour in neighbours:
        if not neighbour.blocked and same_wording(question, neighbour.question):
            return Verdict(True, "the same question", neighbour, 1.0)
    return None


def _is_same_text(question: str, same: Verdict) -> bool:
    return same.neighbour is not None and question.split() == same.neighbour.question.split()


def _above_threshold(threshold: float, question: str, neighbours: Sequence[Neighbour]) -> Verdict:
    found = candidate(question, neighbours)
    if found is None:
        return _no_candidate(question, neighbours)
    best, refused = found.best, tuple(found.refused)
    if best.similarity < threshold:
        return Verdict(False, f"similarity {best.similarity:.3f} is below {threshold}", best, refused=refused)
    if not (is_english(question) and is_english(best.question)):
        return Verdict(False, "not English: what speaks against it cannot be read", best, refused=refused)
    asked, stored = phrase(question), phrase(best.question)
    difference = frame.strict_veto(asked, stored) or substitution.veto(asked, stored)
    if difference is not None:
        return Verdict(False, difference, best, refused=(*refused, (best, difference)))
    return Verdict(True, f"similarity {best.similarity:.3f}, and nothing against it", best, refused=refused)


def _no_candidate(question: str, neighbours: Sequence[Neighbour]) -> Verdict:
    near = [neighbour for neighbour in neighbours if neighbour.similarity >= MIN_SIMILARITY]
    if not near:
        return Verdict(False, "nothing similar is stored")
    refused = tuple((neighbour, objection(question, neighbour) or "") for neighbour in near)
    return Verdict(False, refused[0][1], near[0], refused=refused)
