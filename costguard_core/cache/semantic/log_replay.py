"""What the semantic cache would have done with a log of questions, and what it can start from.

Every question of a log was paid for, so each is compared with the answer that would have been served in its place. What
that teaches is the state that a cache can start from; which questions came back makes proposals for an FAQ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from costguard_core.cache.answer import Answer
from costguard_core.cache.keys import CacheKey, digest
from costguard_core.cache.policy import CachePolicy, Request
from costguard_core.cache.semantic.comparator.comparator import Comparator, TextComparator
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Vector
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.learning import Interval, wilson
from costguard_core.cache.semantic.query import SemanticQuery, is_more_than_a_question
from costguard_core.types import Attribution

_MAX_WRONG = 20  # wrong hits to show; a choice


class Asked(NamedTuple):
    """A question of a log.

    Attributes:
        question, answer: what was asked, and what the model answered.
        model: which one.
        endpoint, user, tenant: who asked where.
        cost: nano-dollars; ``None``: unknown.
    """

    question: str
    answer: str
    model: str = ""
    endpoint: str | None = None
    user: str | None = None
    tenant: str | None = None
    cost: int | None = None


class WrongHit(NamedTuple):
    """A question that would have been given the answer of another one, and the reason to think that it is wrong."""

    question: str
    stored: str
    similarity: float
    reason: str


@dataclass(slots=True)
class Replayed:
    """What a log showed.

    Attributes:
        asked: questions in the log.
        declined: of them, those that the policy shares with nobody, or that are more than a question.
        hits: of them, those that would have been served.
        wrong, unknown: hits whose answer the model's own contradicted, and of which it could not be told.
        saved: nano-dollars that the right hits had cost.
        first: place of the first hit, from 1; ``None``: there was none.
        examples: wrong hits.
        is_open: whether the promise can be made at the end.
        state: what was learned, for an index to keep.
    """

    asked: int = 0
    declined: int = 0
    hits: int = 0
    wrong: int = 0
    unknown: int = 0
    saved: int = 0
    first: int | None = None
    examples: list[WrongHit] = field(default_factory=list)
    is_open: bool = False
    state: str = ""

    @property
    def error(self) -> Interval:
        """Share of the hits that can be told which was wrong, with its 95 % interval."""
        return wilson(self.wrong, self.hits - self.unknown)


class Suggestion(NamedTuple):
    """Questions that want one answer and came back.

    Attributes:
        question: the wording asked most often.
        answer: what the model answered to it last.
        paraphrases: other wordings.
        times: how often they were asked.
        cost: nano-dollars that the answers cost together.
    """

    question: str
    answer: str
    paraphrases: tuple[str, ...]
    times: int
    cost: int


Embed = Callable[[str], Vector]


class _Log:
    """A cache in memory that is asked and told everything of a log, in order."""

    def __init__(
        self, embed: Embed, policy: CachePolicy | None, compare: Comparator | None, max_error: float, z: float = 1.15
    ) -> None:
        self.compare = compare or TextComparator()
        self.policy = policy or CachePolicy()
        self.embed = embed
        self.engine = SemanticEngine(
            MemoryIndex(), self.policy, compare=self.compare, max_error=max_error, max_entries=1_000_000, z=z
        )

    def query(self, one: Asked, *, of_any_model: bool = False) -> SemanticQuery | None:
        """The question, or ``None`` if it is shared with nobody; whichever model it was asked of, if that is wanted."""
        who = Attribution(user=one.user, tenant=one.tenant, endpoint=one.endpoint)
        request = Request("", one.model, one.question, attribution=who).classified()
        if is_more_than_a_question(one.question) or self.policy.declines(request) is not None:
            return None
        readers = [f"{name}={value}" for name, value in self.policy.readers(request)]
        scope = digest("log", "" if of_any_model else one.model, one.endpoint or "", *readers)
        return SemanticQuery(one.question, scope, CacheKey(digest=digest(scope, one.question)))

    def store(self, query: SemanticQuery, one: Asked) -> None:
        answer = Answer(payload={"text": one.answer}, choices=1, finish=("stop",), cost=one.cost)
        self.engine.save(query, self.embed(query.question), answer, one.answer)


def replay(
    log: Iterable[Asked],
    embed: Embed,
    *,
    policy: CachePolicy | None = None,
    compare: Comparator | None = None,
    max_error: float = 0.02,
    z: float = 1.15,
) -> Replayed:
    """What a calibrated cache would have served of a log, oldest question first, and how much of it wrongly. ``z``:
    standard deviations by which the promise must hold.

    Raises:
        ConfigurationError: ``max_error`` is out of its range.
        Exception: whatever the embeddings raise.
    """
    run, found = _Log(embed, policy, compare, max_error, z), Replayed()
    for place, one in enumerate(log, start=1):
        found.asked = place
        query = run.query(one)
        if query is None:
            found.declined += 1
            continue
        _count(run, found, query, one)
        run.store(query, one)
    found.is_open = run.engine.stats().is_open
    found.state = run.engine.evidence.dump(entries=False)
    return found


def _count(run: _Log, found: Replayed, query: SemanticQuery, one: Asked) -> None:
    vector = run.embed(query.question)
    near = run.engine.search(query, vector)
    verdict = run.engine.verdict_on(query, near)
    if not verdict.hit or verdict.neighbour is None:
        return
    found.hits += 1
    found.first = found.first or found.asked
    text = next((near_one.entry.text for near_one in near if near_one.entry.id == verdict.neighbour.id), "")
    compared = run.compare(one.answer, text)
    if compared.same is None:
        found.unknown += 1
    elif compared.same:
        found.saved += one.cost or 0
    else:
        found.wrong += 1
        if len(found.examples) < _MAX_WRONG:
            neighbour = verdict.neighbour
            found.examples.append(WrongHit(one.question, neighbour.question, neighbour.similarity, compared.reason))


def suggest(
    log: Sequence[Asked],
    embed: Embed,
    *,
    policy: CachePolicy | None = None,
    compare: Comparator | None = None,
    least: int = 3,
) -> list[Suggestion]:
    """Questions that came back at least ``least`` times, in the same or other words with the same answer; what cost
    most first, whichever model was asked: an answer is seeded for all of them. Only questions that the policy shares
    are proposed."""
    run = _Log(embed, policy, compare, 0.02)
    asked: dict[str, list[Asked]] = {}  # entry → its questions
    for one in log:
        query = run.query(one, of_any_model=True)
        if query is not None:
            run.store(query, one)
            asked.setdefault(query.key.digest, []).append(one)
    groups: dict[tuple[str, str], list[Asked]] = {}
    for scope in run.engine.index.scopes():
        for entry in run.engine.index.entries(scope):
            group = run.engine.evidence.group(entry.group)
            groups.setdefault((scope, group), []).extend(asked.get(entry.id, ()))
    found = [_suggestion(members) for members in groups.values() if len(members) >= least]
    return sorted(found, key=lambda one: (-one.cost, -one.times, one.question))


def _suggestion(members: Sequence[Asked]) -> Suggestion:
    times: dict[str, int] = {}
    for one in members:
        times[one.question] = times.get(one.question, 0) + 1
    wordings = sorted(times, key=lambda text: (-times[text], text))
    answer = next(one.answer for one in reversed(members) if one.question == wordings[0])
    cost = sum(one.cost or 0 for one in members)
    return Suggestion(wordings[0], answer, tuple(wordings[1:]), len(members), cost)
