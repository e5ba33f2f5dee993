"""How probable it is that a question wants an answer that a person wrote, from all the wordings it was written for.

A logistic regression over similarity, lead over other answers and the words that question and wordings have in common.
Its weights are in ``data/written_score.txt``, made by ``benchmarks/train_written_score.py`` from public data. What
probability suffices for the promised error differs from one application to the next: :class:`WrittenRecord` learns it
from the written questions themselves before there is any traffic, and from traffic afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from costguard_core.cache.language import word_lists
from costguard_core.cache.semantic.rules import frame, substitution
from costguard_core.cache.semantic.rules.core import core
from costguard_core.cache.semantic.rules.lexicon import FUNCTION_WORDS, NEUTRAL
from costguard_core.cache.semantic.rules.phrase import phrase, stem

NAMES = (
    "constant",
    "similarity",
    "very high similarity",
    "lead over another answer",
    "mean similarity of the wordings",
    "the question's words in the wording",
    "the wording's words in the question",
    "the question's words in any wording",
    "the same words",
    "a strict difference of closed-class words",
    "a word replaced",
    "log of wordings",
)
_MAX_LEAD = 0.4
_LIGHT = frozenset(map(stem, NEUTRAL))  # words that say little
_LIGHT_WEIGHT = 0.35  # a choice


class Wordings(NamedTuple):
    """The wordings of one written answer near to a question: the best, its cosine, and those of the others."""

    best: str
    similarity: float
    others: Sequence[tuple[str, float]]


def score(question: str, wordings: Wordings, other_answer: float) -> float:
    """The probability, 0 to 1. ``other_answer``: cosine of the nearest question with another answer."""
    x = sum(
        weight * value for weight, value in zip(_weights(), features(question, wordings, other_answer), strict=True)
    )
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, x))))


def features(question: str, wordings: Wordings, other_answer: float) -> tuple[float, ...]:
    """The numbers of :data:`NAMES`."""
    ours, theirs = content(question), content(wordings.best)
    known = frozenset(
        word for text in (wordings.best, *(text for text, _ in wordings.others)) for word in content(text)
    )
    cosines = (wordings.similarity, *(cosine for _, cosine in wordings.others))
    asked, stored = phrase(question), phrase(wordings.best)
    return (
        1.0,
        10 * wordings.similarity - 8,
        10 * max(0.0, wordings.similarity - 0.9),
        10 * max(-0.2, min(_MAX_LEAD, wordings.similarity - other_answer)),
        10 * sum(cosines) / len(cosines) - 8,
        _covered(ours, theirs),
        _covered(theirs, ours),
        _covered(ours, known),
        float(frozenset(ours) == frozenset(theirs)),
        float(frame.strict_veto(asked, stored) is not None),
        float(substitution.veto(phrase(core(question)), phrase(core(wordings.best)), least=0.0) is not None),
        math.log(len(cosines)),
    )


@lru_cache(maxsize=4096)
def content(text: str) -> tuple[str, ...]:
    """The words of a question's subject that mean something, each once."""
    words = (word for word in phrase(core(text)).words if word not in FUNCTION_WORDS and word[:1].isalnum())
    return tuple(dict.fromkeys(words))


def _covered(words: Sequence[str], others: Collection[str]) -> float:
    """The share of the words, weighted, that the others have in some form; 1.0 if there is no word."""
    total = found = 0.0
    for word in words:
        weight = _LIGHT_WEIGHT if stem(word) in _LIGHT else 1.0
        total += weight
        if word in others or any(substitution.same_word(word, other) for other in others):
            found += weight
    return found / total if total else 1.0


@cache
def _weights() -> tuple[float, ...]:
    lines = word_lists.lines("costguard_core.cache.semantic", "written_score.txt")
    weights = {name: float(value) for name, _, value in (line.rpartition(": ") for line in lines)}
    return tuple(weights[name] for name in NAMES)


# From how probable on a hit may be served: the steps that are tried, lowest first.
STEPS = (0.6, 0.7, 0.8, 0.84, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98)
_REPEATS = 0.3  # the share of traffic that repeats something written, until traffic says otherwise: a choice
_SEEN = 300.0  # requests that the written questions count for; a choice
_LEAST_WORDINGS = 60  # asked of the others, before they are believed; a choice
# A question that nobody wrote is less near to the written ones than these are to each other: at .85, on streams made of
# Quora, CLINC150, banking77 and hand-written FAQs, 0 to .24 times as many would have been served.
_STRANGER = 0.25
_MARGIN = 0.75  # share of the promised error that is used; a choice
_RAMP = 1.0  # audits without an error after which half of these hits are audited; a choice


class WrittenRecord:
    """From which probability a written answer may be served: the lowest that would have kept the promise.

    The written questions are asked of the others: with the other wordings of their answer there (a repeat, which may
    be served rightly or wrongly), and without (a question that nobody wrote an answer to). Fresh answers and people
    add to that.
    """

    def __init__(self, max_error: float, *, audit: float = 0.02) -> None:
        self._max_error, self._audit = max_error, audit
        self._audits_without_error = 0
        self._repeats, self._strangers = 0, 0
        self._seeds = {step: [0, 0, 0] for step in STEPS}  # repeats right, repeats wrong, strangers served
        self._traffic = {step: [0.0, 0.0] for step in STEPS}  # right, wrong

    @property
    def cut(self) -> float:
        """The lowest probability that may be served; infinite while none may."""
        if self._repeats < _LEAST_WORDINGS or self._strangers < _LEAST_WORDINGS:
            return math.inf
        for step in STEPS:
            if self._error(step) <= _MARGIN * self._max_error:
                return step
        return math.inf

    def learn_seed(self, probability: float | None, *, right: bool, stranger: bool) -> None:
        """What the best candidate of a written question was; ``None``: there was none."""
        if stranger:
            self._strangers += 1
        else:
            self._repeats += 1
        for step, counts in self._seeds.items():
            if probability is not None and probability >= step:
                counts[2 if stranger else 0 if right else 1] += 1

    @property
    def audit_share(self) -> float:
        """The share of such hits to pay for anyway: much at first, little once many were right."""
        return max(self._audit, _RAMP / (_RAMP + self._audits_without_error))

    def learn(self, probability: float, *, right: bool, audited_share: float | None = None) -> None:
        """What a fresh answer, or a person, said of the best candidate. ``audited_share``: it would have been a hit,
        and such hits are audited this often."""
        weight = 1.0 if audited_share is None else 1 / audited_share
        if audited_share is not None:
            self._audits_without_error = self._audits_without_error + 1 if right else 0
        for step, counts in self._traffic.items():
            if probability >= step:
                counts[not right] += weight

    def dump(self) -> list[Any]:
        audits = self._audits_without_error
        return [self._repeats, self._strangers, list(self._seeds.values()), list(self._traffic.values()), audits]

    def load(self, data: Sequence[Any]) -> None:
        repeats, strangers, seeds, traffic, audits = data
        if len(seeds) == len(traffic) == len(STEPS):
            self._repeats, self._strangers, self._audits_without_error = int(repeats), int(strangers), int(audits)
            self._seeds = {step: list(counts) for step, counts in zip(STEPS, seeds, strict=True)}
            self._traffic = {step: list(counts) for step, counts in zip(STEPS, traffic, strict=True)}

    def _error(self, step: float) -> float:
        right, wrong, served = self._seeds[step]
        repeats, strangers = _SEEN * _REPEATS / self._repeats, _SEEN * (1 - _REPEATS) / self._strangers
        traffic_right, traffic_wrong = self._traffic[step]
        bad = wrong * repeats + _STRANGER * max(served, 0.5) * strangers + traffic_wrong
        total = bad + right * repeats + traffic_right
        return bad / total if total else 1.0
