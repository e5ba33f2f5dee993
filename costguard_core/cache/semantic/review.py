"""Pairs of stored questions for a person to look at, and what saying that they are or are not the same changes.

A question that was nearly served another one's answer was paid for and stored itself, so both are in the index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from costguard_core.cache.keys import CacheKey, digest
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.engine import SemanticEngine, without_its_own
from costguard_core.cache.semantic.index.base import Entry, Vector
from costguard_core.cache.semantic.query import SemanticQuery

Embed = Callable[[str], Vector]


@dataclass(frozen=True, slots=True)
class Reviewable:
    """A stored question and the nearest other one.

    Attributes:
        id: names the questions and answers, for :func:`find_pair`.
        scope: where both are.
        entry, other: the question, and the one whose answer it was, or was not, to be given.
        similarity: their cosine.
        verdict: what would be decided for the question if its own answer were not stored.
        copies: the same questions with the same answers in other scopes, such as those of other ways of asking a model.
    """

    id: str
    scope: str
    entry: Entry
    other: Entry
    similarity: float
    verdict: Verdict
    copies: tuple[Reviewable, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a judgement changed.

    Attributes:
        before, after: the verdict on the question.
        confirmed, refuted: what people have said so far, this included.
        cutoff_before, cutoff_after: the lowest probability that is served; infinite: nothing is.
        close_before, close_after: the similarity from which nearly the same words are served; infinite: none are.
    """

    before: Verdict
    after: Verdict
    confirmed: int
    refuted: int
    cutoff_before: float
    cutoff_after: float
    close_before: float
    close_after: float


def pairs_to_review(
    engine: SemanticEngine, embed: Embed, *, least: float = 0.8, scope: str = "", newest: int | None = None
) -> list[Reviewable]:
    """Pairs of at least this cosine, each once, in however many scopes it is: first what would be served, then near
    misses, the most similar first.

    ``scope``: its first characters. ``newest``: look at the neighbours of so many entries only; each takes a search.
    Raises what the index or the embeddings raise.
    """
    scopes = [name for name in engine.index.scopes() if name.startswith(scope)]
    rows = [(name, entry) for name in scopes for entry in engine.index.entries(name)]
    rows.sort(key=lambda row: -row[1].created)
    found = [pair for name, entry in rows[:newest] if (pair := _pair(engine, embed, name, entry)) is not None]
    once = {frozenset((pair.entry.id, pair.other.id)): pair for pair in found if pair.similarity >= least}
    alike: dict[str, list[Reviewable]] = {}
    for pair in sorted(once.values(), key=lambda pair: (not pair.verdict.hit, -pair.similarity)):
        alike.setdefault(pair.id, []).append(pair)
    return [replace(first, copies=tuple(copies)) for first, *copies in alike.values()]


def find_pair(pairs: list[Reviewable], name: str) -> Reviewable | None:
    """The pair whose id begins with ``name``, if there is just one."""
    found = [pair for pair in pairs if pair.id.startswith(name)]
    return found[0] if len(found) == 1 else None


def judge(engine: SemanticEngine, embed: Embed, pair: Reviewable, *, same: bool) -> Change:
    """Say whether both questions want the same answer, and see what that changes. Refuted, neither is given the other's
    answer again, in any process that shares the index and in any scope in which both were shown.

    Raises what the index or the embeddings raise.
    """
    query, vector, before = _query(pair.scope, pair.entry), embed(pair.entry.question), _standing(engine)
    for place, one in enumerate((pair, *pair.copies)):
        asked = _query(one.scope, one.entry)
        engine.judge(asked, embed(one.entry.question), one.other.id, same=same, learn=not place)  # it was said once
        if not same:
            back = _query(one.scope, one.other)
            engine.judge(back, embed(one.other.question), one.entry.id, same=False, learn=False)
    after = _standing(engine)
    verdict = engine.explain_without(query, vector)
    said = engine.stats()
    return Change(pair.verdict, verdict, said.confirmed, said.refuted, before[0], after[0], before[1], after[1])


def reason_of(pair: Reviewable) -> str:
    """Why the question would, or would not, be given the other one's answer."""
    refused = {one.id: reason for one, reason in pair.verdict.refused}
    return refused.get(pair.other.id, pair.verdict.reason)


def _pair(engine: SemanticEngine, embed: Embed, scope: str, entry: Entry) -> Reviewable | None:
    query, vector = _query(scope, entry), embed(entry.question)
    found = without_its_own(query, engine.search(query, vector))
    group_of = engine.evidence.group  # answers that were found to say the same since they were stored are one group
    near = next((one for one in found if group_of(one.entry.group) != group_of(entry.group)), None)
    if near is None:
        return None
    told = sorted((one.question, one.text) for one in (entry, near.entry))
    name = digest("pair", *(text for one in told for text in one))[:12]
    return Reviewable(name, scope, entry, near.entry, near.similarity, engine.verdict_on(query, found))


def _query(scope: str, entry: Entry) -> SemanticQuery:
    return SemanticQuery(entry.question, scope, CacheKey(digest=entry.id))


def _standing(engine: SemanticEngine) -> tuple[float, float]:
    return engine.evidence.cutoff, engine.evidence.close_from
