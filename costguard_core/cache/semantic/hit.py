"""What is asked of the semantic cache, what it answers, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from costguard_core.cache.answer import Answer
from costguard_core.cache.keys import CacheKey
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.learning import Interval
from costguard_core.types import usd


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its ``question``, and the ``scope`` that is a digest of everything else. ``key`` is that of the whole
    request. ``fills_in``: the model must fill in one schema, so that its tool call is an answer and no deed."""

    question: str
    scope: str
    key: CacheKey
    fills_in: bool = False


@dataclass(frozen=True, slots=True)
class SemanticHit:
    """An answer to the same question in other words. ``id`` names this hit for feedback."""

    id: str
    answer: Answer
    entry: Entry
    verdict: Verdict

    @property
    def similarity(self) -> float:
        return self.verdict.neighbour.similarity if self.verdict.neighbour else 1.0

    @property
    def saved(self) -> int:
        return self.answer.cost or 0


class NearMiss(NamedTuple):
    """A question that a similarity threshold would have answered wrongly."""

    question: str
    stored: str
    similarity: float
    reason: str


@dataclass(frozen=True, slots=True)
class SemanticStats:
    """Counts since the cache was made, and what is known about its errors.

    ``measured_error`` is the share of would-be hits that a fresh answer contradicted, with its 95 % interval (audits,
    and misses that would have been hits); ``audited_error`` only the audits. ``comparator_error`` is estimated from its
    contradictions.
    """

    hits: int
    misses: int
    audits: int
    stored: int
    errors: int
    evicted: int
    saved: int
    declined: dict[str, int]
    is_open: bool
    labels: int
    measured_error: Interval
    audited_error: Interval
    comparator_error: float
    confirmed: int
    refuted: int

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.saved)


def pair_name(asked: Asked) -> str:
    """A question in its scope, for refutations: a digest, so that what is kept says nothing."""
    wording = " ".join(asked.question.split()).rstrip(" .?!").casefold()
    return blake2b(f"{asked.scope}\n{wording}".encode(), digest_size=16).hexdigest()
