"""Pairs of stored questions for a person to look at, and what saying that they are or are not the same changes.

A question that was nearly served another one's answer was paid for and stored itself, so both are in the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from costguard_core.cache.keys import CacheKey, digest
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Entry, Found, Vector
from costguard_core.cache.semantic.query import SemanticQuery

Embed = Callable[[str], Vector]


@dataclass(frozen=True, slots=True)
class Reviewable:
    """A stored question and the nearest other one.

    Attributes:
        id: names the pair, for :func:`find_pair`.
        scope: where both are.
        entry, other: the question, and the one whose answer it was, or was not, to be given.
        similarity: their cosine.
        verdict: what would be decided for the question if its own answer were not stored.
    """

    id: str
    scope: str
    entry: Entry
    other: Entry
    similarity: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Change:
    """What a judgement changed.

    Attributes:
        before, after: the verdict on the question.
        cutoff_before, cutoff_after: the lowest probability that is served; infinite: nothing is.
        close_before, close_after: the similarity from which nearly the same words are served; infinite: none are.
    """

    before: Verdict
    after: Verdict
    cutoff_before: float
    cutoff_after: float
    close_before: float
    close_after: float


def pairs_to_review(engine: SemanticEngine, embed: Embed, *, least: float = 0.8, scope: str = "") -> list[Reviewable]:
    """Pairs of at least this cosine, each once: first what would be served, then near misses, the most similar first.

    Raises what the index or the embeddings raise.
    """
    found = [pair for name in engine.index.scopes() if name.startswith(scope) for pair in _pairs(engine, embed, name)]
    once = {frozenset((pair.entry.id, pair.other.id)): pair for pair in found if pair.similarity >= least}
    return sorted(once.values(), key=lambda pair: (not pair.verdict.hit, -pair.similarity))


def find_pair(pairs: list[Reviewable], name: str) -> Reviewable | None:
    """The pair whose id begins with ``name``, if there is just one."""
    found = [pair for pair in pairs if pair.id.startswith(name)]
    return found[0] if len(found) == 1 else None


def judge(engine: SemanticEngine, embed: Embed, pair: Reviewable, *, same: bool) -> Change:
    """Say whether both questions want the same answer, and see what that changes. Refuted, neither is given the other's
    answer again, in any process that shares the index.

    Raises what the index or the embeddings raise.
    """
    query = _query(pair.scope, pair.entry)
    vector, before = embed(pair.entry.question), _standing(engine)
    engine.judge(query, vector, pair.other.id, same=same)
    if not same:
        back = _query(pair.scope, pair.other)
        engine.judge(back, embed(pair.other.question), pair.entry.id, same=False, learn=False)
    after = _standing(engine)
    verdict = engine.explain_without(query, vector)
    return Change(pair.verdict, verdict, before[0], after[0], before[1], after[1])


def _pairs(engine: SemanticEngine, embed: Embed, scope: str) -> Iterator[Reviewable]:
    for entry in engine.index.entries(scope):
        query, vector = _query(scope, entry), embed(entry.question)
        near = next((one for one in engine.search(query, vector) if _may_be_told(one, entry)), None)
        if near is not None:
            name = digest("pair", entry.id, near.entry.id)[:12]
            verdict = engine.explain_without(query, vector)
            yield Reviewable(name, scope, entry, near.entry, near.similarity, verdict)


def _may_be_told(found: Found, entry: Entry) -> bool:
    return found.entry.id != entry.id and found.entry.group != entry.group


def _query(scope: str, entry: Entry) -> SemanticQuery:
    return SemanticQuery(entry.question, scope, CacheKey(digest=entry.id))


def _standing(engine: SemanticEngine) -> tuple[float, float]:
    return engine.evidence.cutoff, engine.evidence.close_from
