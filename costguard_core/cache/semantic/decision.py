"""Serve a stored answer or pay for a new one? A pure function of the question, its neighbours and the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

from costguard_core.cache.language.detection import is_english
from costguard_core.cache.semantic.rules import action, frame, lexical, substitution, symbols
from costguard_core.cache.semantic.rules.core import core
from costguard_core.cache.semantic.rules.phrase import phrase, same_wording, stem
from costguard_core.cache.semantic.written_score import Wordings, score
from costguard_core.util.text import printable

# Below this cosine two short questions have nothing to do with each other, in every embedding model measured
# (wordllama and MiniLM on CLINC150, HWU64 and banking77).
MIN_SIMILARITY = 0.6
MIN_WRITTEN = 0.5  # the same for a written answer, of which there are several wordings
WRITTEN_THRESHOLD = 0.9  # cosine from which a written answer needs no other evidence than that nothing differs
_WRITTEN_LEAD = 0.01  # over any other answer; a choice
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
        written: a person wrote its answer, and said that it is for this kind of question.
        doubts: how much more often its answer was wrong than right as a hit, or where nothing that may matter differed.
        confirmed: a verifier said that the two questions want the same answer (``False``: that they do not); ``None``
            if it was not asked.
    """

    id: str
    question: str
    similarity: float
    group: str
    right: int = 0
    wrong: int = 0
    blocked: bool = False
    written: bool = False
    doubts: int = 0
    confirmed: bool | None = None


class Candidate(NamedTuple):
    """The neighbour whose answer would be served, the others, and those that were refused with the reason."""

    best: Neighbour
    others: Sequence[Neighbour]
    refused: Sequence[tuple[Neighbour, str]]


class ByWordings(NamedTuple):
    """The likeliest written answer by all its wordings, and how probable it is."""

    neighbour: Neighbour
    probability: float


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
        basis: what a hit rests on: the ``"evidence"``; the ``"same"`` question, opened or closed otherwise; a
            ``"written"`` answer, or the ``"wording"``, near enough and with nothing that may matter between them; all
            ``"wordings"`` of a written answer; or a ``"verifier"``.
        is_close: nothing that may matter differs, and no other answer is as near.
        written: the likeliest written answer.
    """

    hit: bool
    reason: str
    neighbour: Neighbour | None = None
    probability: float | None = None
    features: tuple[float, ...] = ()
    differing: tuple[str, ...] = ()
    refused: tuple[tuple[Neighbour, str], ...] = ()
    basis: Literal["evidence", "same", "written", "wording", "wordings", "verifier"] = "evidence"
    is_close: bool = False
    written: ByWordings | None = None

    def __str__(self) -> str:
        near = dict.fromkeys([*([] if self.neighbour is None else [self.neighbour]), *(one for one, _ in self.refused)])
        return self.beside((one.similarity, one.question) for one in near)

    def beside(self, near: Iterable[tuple[float, str]]) -> str:
        """The verdict in lines for people, with questions that are near, each with its similarity."""
        reasons = {one.question: reason for one, reason in self.refused}
        lines = (f"  {cosine:.3f}  {printable(text)}  {reasons.get(text, '')}".rstrip() for cosine, text in near)
        return "\n".join([f"{'hit' if self.hit else 'miss'}: {self.reason}", *lines])


class Estimate(Protocol):
    """What the calibrated rule asks of the evidence."""

    def probability(self, features: Sequence[float]) -> float:
        """That the candidate's answer is right."""

    def word_risk(self, words: Sequence[str]) -> float:
        """Log odds that one of the words changes the answer."""

    @property
    def cutoff(self) -> float:
        """The lowest probability that may be served; infinite while nothing may."""

    @property
    def close_from(self) -> float:
        """The cosine from which questions with nothing that may matter between them had the same answer so far;
        infinite while that is not known."""

    @property
    def written_from(self) -> float:
        """The probability by all its wordings from which a written answer may be served; infinite while none may."""


def guarded(question: str, neighbours: Sequence[Neighbour], *, threshold: float) -> Verdict:
    """Serve the nearest neighbour that nothing speaks against, if its cosine is at least ``threshold``."""
    return _identical(question, neighbours) or _above_threshold(threshold, question, neighbours)


def calibrated(
    question: str, neighbours: Sequence[Neighbour], evidence: Estimate, *, threshold: float = WRITTEN_THRESHOLD
) -> Verdict:
    """Serve if neighbouring answers and the evidence so far make it as sure as the promised error needs; also what has
    nothing that may matter between them: answers that a person wrote from ``threshold``, others from where such pairs
    had the same answer so far; and what is sure enough by all the wordings of a written answer."""
    near = by_wordings(question, neighbours)
    verdict = replace(_calibrated_or_close(question, neighbours, evidence, threshold), written=near)
    if verdict.hit or near is None or near.probability < evidence.written_from or near.neighbour.doubts > 0:
        return verdict
    reason = f"a written answer, {near.probability:.3f} sure by its wordings"
    # The features and the estimate were of another candidate, perhaps: nothing is learned of them.
    refused = verdict.refused
    return Verdict(True, reason, near.neighbour, near.probability, refused=refused, basis="wordings", written=near)


def _calibrated_or_close(
    question: str, neighbours: Sequence[Neighbour], evidence: Estimate, threshold: float
) -> Verdict:
    verdict = _calibrated(question, neighbours, evidence)
    best = verdict.neighbour
    if best is None or not verdict.features or difference(question, best.question) or not _leads(best, neighbours):
        return verdict
    verdict = replace(verdict, is_close=True)
    is_written = best.written and best.similarity >= max(threshold, WRITTEN_THRESHOLD)
    if verdict.hit or best.doubts > 0 or not (is_written or best.similarity >= evidence.close_from):
        return verdict
    reason = f"similarity {best.similarity:.3f}, and nothing against it"
    if is_written:
        return replace(verdict, hit=True, reason=f"a written answer; {reason}", basis="written")
    return replace(verdict, hit=True, reason=reason, basis="wording")


def by_wordings(question: str, neighbours: Sequence[Neighbour]) -> ByWordings | None:
    """The likeliest written answer that nothing speaks against, and one of whose wordings asks to do what is asked."""
    groups: dict[str, list[Neighbour]] = {}
    for one in neighbours:
        if one.similarity >= MIN_WRITTEN and one.written and not _is_vetoed(question, one):
            groups.setdefault(one.group, []).append(one)
    if not groups or not is_english(question):
        return None
    found = []
    for group, found_wordings in groups.items():
        if not action.is_asked(question, [one.question for one in found_wordings]):
            continue
        best, *others = found_wordings
        other = max((one.similarity for one in neighbours if one.group != group and not one.blocked), default=0.0)
        wordings = Wordings(best.question, best.similarity, [(one.question, one.similarity) for one in others])
        found.append(ByWordings(best, score(question, wordings, other)))
    return max(found, key=lambda one: one.probability, default=None)


def _is_vetoed(question: str, one: Neighbour) -> bool:
    closed_classes = frame.strict_veto(phrase(question), phrase(one.question))
    return closed_classes is not None or objection(question, one) is not None


def _leads(best: Neighbour, neighbours: Sequence[Neighbour]) -> bool:
    """Whether no other answer is as near."""
    others = (one.similarity for one in neighbours if one.group != best.group and not one.blocked)
    return best.similarity - max(others, default=0.0) >= _WRITTEN_LEAD


def _calibrated(question: str, neighbours: Sequence[Neighbour], evidence: Estimate) -> Verdict:
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
    if math.isfinite(evidence.cutoff) and found.best.doubts <= 0 and asks_the_same(question, found.best.question):
        refused = tuple(found.refused)
        return Verdict(True, _SAME_QUESTION, found.best, probability, features, differing, refused, basis="same")
    hit = probability >= evidence.cutoff
    needed = (
        f"needs {evidence.cutoff:.3f}"
        if math.isfinite(evidence.cutoff)
        else "not enough evidence yet to promise the error"
    )
    reason = f"{probability:.3f} sure" if hit else f"only {probability:.3f} sure: {needed}"
    return Verdict(hit, reason, found.best, probability, features, differing, tuple(found.refused))


class Confirmation(Protocol):
    """What the verified rule asks of a verifier's record."""

    def probability(self, prior: float, *, said: bool | None) -> float:
        """That a pair wants the same answer, after what was said of it."""


def verified(
    question: str,
    neighbours: Sequence[Neighbour],
    evidence: Estimate,
    record: Confirmation,
    *,
    needed: float,
    threshold: float = WRITTEN_THRESHOLD,
) -> Verdict:
    """:func:`calibrated`; and where that serves nothing, the candidate that a verifier confirmed, if it is at least
    ``needed`` probable then. What a verifier denied is never served."""
    verdict = calibrated(question, neighbours, evidence, threshold=threshold)
    if verdict.reason == _SAME_QUESTION:
        return verdict
    if verdict.hit and (verdict.neighbour is None or verdict.neighbour.confirmed is not False):
        return verdict
    confirmed = [one for one in candidates(question, neighbours, evidence) if one.neighbour and one.neighbour.confirmed]
    best = max(confirmed, key=lambda one: one.probability or 0.0, default=None)
    if best is None:
        return replace(verdict, hit=False, reason="a verifier said no") if verdict.hit else verdict
    sure = record.probability(best.probability or 0.0, said=True)
    reason = f"confirmed by the verifier, {sure:.3f} sure"
    hit = sure >= needed
    return replace(best, hit=hit, reason=reason if hit else f"{reason}: needs {needed:.3f}", basis="verifier")


def worth_asking(
    question: str, neighbours: Sequence[Neighbour], evidence: Estimate, record: Confirmation, *, needed: float
) -> list[Verdict]:
    """The candidates that would be served if a verifier confirmed them and that it was not asked about, most probable
    first, one for each answer."""
    found = [
        one
        for one in candidates(question, neighbours, evidence)
        if one.neighbour is not None
        and one.neighbour.confirmed is None
        and record.probability(one.probability or 0.0, said=True) >= needed
    ]
    return sorted(found, key=lambda one: -(one.probability or 0.0))[:_MAX_ASKED]


def candidates(question: str, neighbours: Sequence[Neighbour], evidence: Estimate) -> list[Verdict]:
    """For each answer among the neighbours the nearest that nothing speaks against, with its probability."""
    found, groups = [], set[str]()
    for place, neighbour in enumerate(neighbours):
        if neighbour.similarity < _MIN_ASKED:
            break
        if neighbour.group in groups or objection(question, neighbour) is not None:
            continue
        groups.add(neighbour.group)
        one = Candidate(neighbour, [*neighbours[:place], *neighbours[place + 1 :]], ())
        differing = differing_stems(question, neighbour.question)
        features = features_of(question, one, evidence.word_risk(differing), differing)
        probability = evidence.probability(features)
        found.append(Verdict(False, f"{probability:.3f} sure", neighbour, probability, features, differing))
    return found


_MIN_ASKED = 0.55  # the least similar that a verifier is asked about; tuned on three streams (docs/decisions.md)
_MAX_ASKED = 4  # candidates in one question to a verifier; a choice
_SAME_QUESTION = "the same question"


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
    return _veto(question, neighbour.question)


@lru_cache(maxsize=4096)  # asked several times in one decision, and again when the paid answer is stored
def _veto(question: str, stored: str) -> str | None:
    return (
        lexical.veto(question, stored) or symbols.veto(question, stored) or frame.veto(phrase(question), phrase(stored))
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
    "nothing that may matter differs",
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
        float(difference(question, best.question) is None),
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
            return Verdict(True, _SAME_QUESTION, neighbour, 1.0)
    return None


_DASHES = " -–—"  # before thanks


@lru_cache(maxsize=4096)
def asks_the_same(question: str, stored: str) -> bool:
    """Whether two questions are one but for how they are opened and closed: "hi, is there parking?" and "Is there
    parking, please"."""
    left, right = (core(one).rstrip(_DASHES) if is_english(one) else None for one in (question, stored))
    if left is None or left != right:
        return False
    return frame.frame_of(phrase(question)) == frame.frame_of(phrase(stored)) and not difference(question, stored)


def _is_same_text(question: str, same: Verdict) -> bool:
    return same.neighbour is not None and question.split() == same.neighbour.question.split()


def _above_threshold(threshold: float, question: str, neighbours: Sequence[Neighbour]) -> Verdict:
    found = candidate(question, neighbours)
    if found is None:
        return _no_candidate(question, neighbours)
    best, refused = found.best, tuple(found.refused)
    if best.similarity < threshold:
        return Verdict(False, f"similarity {best.similarity:.3f} is below {threshold}", best, refused=refused)
    reason = difference(question, best.question)
    if reason is not None:
        apart = () if reason is _UNREADABLE else ((best, reason),)
        return Verdict(False, reason, best, refused=(*refused, *apart))
    return Verdict(True, f"similarity {best.similarity:.3f}, and nothing against it", best, refused=refused)


_UNREADABLE = "not English: what speaks against it cannot be read"


@lru_cache(maxsize=4096)
def difference(question: str, stored: str) -> str | None:
    """What may change the answer between two questions that :func:`objection` has nothing against; ``None`` if nothing
    does."""
    if not (is_english(question) and is_english(stored)):
        return _UNREADABLE
    asked, known = phrase(question), phrase(stored)
    if reason := frame.strict_veto(asked, known):
        return reason
    # Openings are no subject ("any idea how I can"), and yet say what is permitted ("can I pay with it").
    reason = substitution.veto(phrase(core(question)), phrase(core(stored)))
    return reason and substitution.veto(asked, known, least=0.0)


def _no_candidate(question: str, neighbours: Sequence[Neighbour]) -> Verdict:
    near = [neighbour for neighbour in neighbours if neighbour.similarity >= MIN_SIMILARITY]
    if not near:
        return Verdict(False, "nothing similar is stored")
    refused = tuple((neighbour, objection(question, neighbour) or "") for neighbour in near)
    return Verdict(False, refused[0][1], near[0], refused=refused)
