"""What people say about served answers: right, wrong, to be kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from costguard_core.cache.semantic.decision import Verdict, candidates
from costguard_core.cache.semantic.evidence import Evidence
from costguard_core.cache.semantic.hit import Pair
from costguard_core.cache.semantic.index.base import Entry, Found, Index
from costguard_core.cache.semantic.query import SemanticQuery, question_digest
from costguard_core.util.lru import LRUMap

_MAX_HITS = 4096  # the last ones, for which feedback may come


class _ServedHit(NamedTuple):
    """A hit that feedback may come for; ``right`` is what was said of it already."""

    query: SemanticQuery
    entry: Entry
    verdict: Verdict
    right: bool | None = None


class Feedback:
    """Learns from what people say, and writes refutations into the entries, so that every process knows them.

    Args:
        index: gives the engine's index.
        evidence: the engine's.
        flush: saves what was learned; never raises.
        record_error: counts and logs a failure of the index.
    """

    def __init__(
        self,
        index: Callable[[], Index],
        evidence: Evidence,
        *,
        flush: Callable[[], None],
        record_error: Callable[[str, Exception], None],
    ) -> None:
        self._index_of, self._evidence = index, evidence
        self._flush, self._record_error = flush, record_error
        self._hits: LRUMap[str, _ServedHit] = LRUMap(_MAX_HITS)

    @property
    def _index(self) -> Index:
        return self._index_of()

    def expect(self, hit: str, query: SemanticQuery, entry: Entry, verdict: Verdict) -> None:
        """Remember a hit by its name."""
        self._hits.put(hit, _ServedHit(query, entry, verdict))

    def refute(self, hit: str, *, everywhere: bool = False) -> bool:
        """The answer of this hit was wrong: never give it to that question again (``everywhere``: delete it).

        Returns whether the hit is known (the last few thousand are). Raises what the index raises on deleting.
        """
        return self._record(hit, right=False, delete=everywhere)

    def refute_pair(self, pair: Pair, *, everywhere: bool = False) -> bool:
        """:meth:`refute` of a hit that another process served, or this one long ago. What the two questions look like
        is not known here, so that nothing is learned from it about others.

        Returns whether the entry is there. Raises what the index raises.
        """
        stored = next((one for one in self._index.entries(pair.scope) if one.id == pair.entry), None)
        if stored is None:
            return False
        if pair.question in stored.refuted and not everywhere:
            return True  # told twice, it counts once
        with self._evidence.lock:
            self._evidence.feedback["refuted"] += 1
            self._evidence.block(pair.question, pair.entry)
        self._flush()
        if everywhere:
            self._index.delete(pair.scope, [pair.entry])
        else:
            self._index.replace(pair.scope, _refuted_for(stored, pair.question))
        return True

    def confirm(self, hit: str) -> bool:
        """The answer of this hit was right. Returns whether the hit is known."""
        return self._record(hit, right=True)

    def pin(self, hit: str) -> bool:
        """Keep the entry behind this hit: it does not expire and is not evicted. Returns whether it is known."""
        served = self._hits.get(hit)
        return served is not None and self._rewrite(served, lambda entry: replace(entry, pinned=True, expires=None))

    def judge(
        self, query: SemanticQuery, found: Sequence[Found], entry: str, *, same: bool, learn: bool = True
    ) -> None:
        """A person said whether a question wants the answer of an entry. If not, it is never given it again, in any
        process that shares the index.

        ``found``: what is near to the question, but for its own answer. ``learn``: also from what the pair looks like.
        Raises what the index raises.
        """
        question = question_digest(query)
        with self._evidence.lock:
            near = candidates(query.question, self._evidence.neighbours(query, found), self._evidence)
            verdict = next((one for one in near if one.neighbour and one.neighbour.id == entry), None)
            if learn and verdict is not None:
                self._evidence.learn_feedback(verdict, right=same)
            if not same:
                self._evidence.block(question, entry)
        self._flush()
        stored = next((one.entry for one in found if one.entry.id == entry), None)
        if not same and stored is not None:
            self._index.replace(query.scope, _refuted_for(stored, question))

    def _record(self, hit: str, *, right: bool, delete: bool = False) -> bool:
        with self._evidence.lock:
            served = self._hits.get(hit)
            if served is None:
                return False
            if served.right is right:
                return True  # told twice, it counts once
            self._hits.put(hit, served._replace(right=right))
            self._evidence.learn_feedback(served.verdict, right=right)
            question = question_digest(served.query)
            if not right:
                self._evidence.block(question, served.entry.id)
        if not right:
            self._flush()  # a refuted pair must not come back after a crash
            try:  # written into the entry, every process that shares the index knows it
                self._rewrite(served, lambda entry: _refuted_for(entry, question))
            except Exception as error:
                self._record_error("telling others of a refutation", error)
        if delete:
            self._index.delete(served.query.scope, [served.entry.id])
        return True

    def _rewrite(self, served: _ServedHit, change: Callable[[Entry], Entry]) -> bool:
        """Change an entry as it is *now*, not as it was when it was served; whether it is still there."""
        entries = self._index.entries(served.query.scope)
        entry = next((one for one in entries if one.id == served.entry.id), None)
        if entry is not None:
            self._index.replace(served.query.scope, change(entry))
        return entry is not None


def _refuted_for(entry: Entry, question: str) -> Entry:
    return entry if question in entry.refuted else replace(entry, refuted=(*entry.refuted, question))
