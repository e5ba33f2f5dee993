"""What the semantic cache answers, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from costguard_core.cache.answer import VERIFICATION, Answer
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.learning import Interval
from costguard_core.cache.semantic.query import SemanticQuery, question_digest
from costguard_core.cache.stats import stats_table
from costguard_core.types import Outcome, usd


class Pair(NamedTuple):
    """A question and the entry that answered it, without a text: what a refutation has to know. Hexadecimal digests.

    Attributes:
        scope: in which the entry is.
        entry: its id.
        question: see :func:`question_digest`.
    """

    scope: str
    entry: str
    question: str


@dataclass(frozen=True, slots=True)
class SemanticHit:
    """A stored answer that is served to a question in other words.

    Attributes:
        id: names this hit, for feedback.
        answer: the stored answer.
        entry: the index entry that holds it.
        verdict: why it is served.
        owed: nano-dollars that asking a verifier cost since the last hit; the saving is net of them.
        query: what was asked.
    """

    id: str
    answer: Answer
    entry: Entry
    verdict: Verdict
    owed: int = 0
    query: SemanticQuery | None = None

    @property
    def pair(self) -> Pair | None:
        """What another process must know to refute this hit."""
        return None if self.query is None else Pair(self.query.scope, self.entry.id, question_digest(self.query))

    @property
    def similarity(self) -> float:
        """Cosine of the two questions; 1.0 for the same text."""
        return self.verdict.neighbour.similarity if self.verdict.neighbour else 1.0

    @property
    def outcome(self) -> Outcome:
        return Outcome.SEMANTIC

    @property
    def payload(self) -> Any:
        """The answer as its adapter encoded it."""
        return self.answer.payload

    @property
    def cost(self) -> int | None:
        """Nano-dollars that the original call cost; ``None`` when nobody knows."""
        return self.answer.cost

    @property
    def saved(self) -> int:
        """Nano-dollars, net of verification; 0 when nobody knows what the answer cost, and perhaps below."""
        return (self.answer.cost or 0) - self.owed

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.saved)

    @property
    def marks(self) -> dict[str, Any]:
        """What the served message says of this hit, beside where it came from and what it saved."""
        marks = {"similarity": round(self.similarity, 4), "hit": self.id}
        return {**marks, VERIFICATION: f"{usd(self.owed):f}"} if self.owed else marks


class NearMiss(NamedTuple):
    """A question that a similarity threshold alone would have answered.

    Attributes:
        question: what was asked.
        stored: the stored question that was similar enough.
        similarity: their cosine.
        reason: what spoke against it.
    """

    question: str
    stored: str
    similarity: float
    reason: str


@dataclass(frozen=True, slots=True)
class SemanticStats:
    """Counts since the cache was made, and what is known about its errors.

    Attributes:
        hits, misses: lookups that were answered, and that were not.
        audits: would-be hits that were paid for anyway, to measure.
        stored, evicted: entries written, and removed for lack of room.
        errors: failures of the index or of the embeddings.
        saved: nano-dollars.
        declined: requests and answers that may not use the cache, by reason.
        is_open: whether anything but the same question is served now.
        labels: comparisons of a fresh answer with a would-be hit that the promise rests on.
        measured_error: share of would-be hits that a fresh answer contradicted (audits, and misses that would have
            been hits), with its 95 % interval.
        audited_error: the same over the audits alone.
        comparator_error: how often the comparator errs, estimated from its contradictions.
        confirmed, refuted: hits that somebody said were right, and wrong.
        verified: hits that a verifier confirmed.
        asked: how often a verifier was asked.
        verification_cost: nano-dollars that this cost; ``saved`` is net of it.
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
    verified: int = 0
    asked: int = 0
    verification_cost: int = 0

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.saved)

    def _repr_html_(self) -> str:
        return stats_table("Semantic cache", self)
