"""The semantic cache as adapters use it: scope and vector in, verdict out; and learning from every answer that was
paid for.

Nothing here raises because an index failed: a failed search is a miss, a failed write is counted and logged.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from threading import Lock
from typing import Literal, NamedTuple

from costguard_core.cache.answer import Answer, Foreign, from_bytes, to_bytes
from costguard_core.cache.policy import CachePolicy
from costguard_core.cache.semantic.comparator.answer_features import is_refusal
from costguard_core.cache.semantic.comparator.comparator import Comparator, TextComparator
from costguard_core.cache.semantic.decision import Neighbour, Verdict, calibrated, guarded
from costguard_core.cache.semantic.eviction import Keeper
from costguard_core.cache.semantic.evidence import Evidence
from costguard_core.cache.semantic.feedback import as_pinned, refuted_for, rewrite
from costguard_core.cache.semantic.hit import Asked, NearMiss, SemanticHit, SemanticStats, pair_name
from costguard_core.cache.semantic.index.base import Entry, Found, Index, Vector
from costguard_core.cache.semantic.learning import wilson
from costguard_core.cache.semantic.options import check
from costguard_core.errors import ConfigurationError

Decide = Literal["guarded", "calibrated"]

NEIGHBOURS = 8
_LOG_EVERY_SECONDS = 60.0
_SAVE_EVERY_SECONDS = 30.0
_REMEMBERED_HITS, _REMEMBERED_REFUSALS = 4096, 100
_log = logging.getLogger("costguard.cache")


class _Served(NamedTuple):
    asked: Asked
    entry: Entry
    verdict: Verdict
    told: bool | None = None


class SemanticEngine:
    """Decides over one index.

    Args:
        decide: ``"calibrated"`` keeps the share of wrong hits below ``max_error`` and says how large it is;
            ``"guarded"`` trusts ``threshold`` and the vetoes.
        compare: do two answers say the same? (:class:`TextComparator`)
        audit: the share of hits that is paid for anyway, to measure.
        max_entries: per scope; the entries that save least per byte go first. max_scopes: the scopes used longest ago
            go first.
        clock: unix seconds.
    """

    def __init__(
        self,
        index: Index,
        policy: CachePolicy | None = None,
        *,
        decide: Decide = "calibrated",
        threshold: float = 0.9,
        max_error: float = 0.02,
        compare: Comparator | None = None,
        audit: float = 0.02,
        max_entries: int = 10_000,
        max_scopes: int = 200,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check(decide, threshold, max_error, audit, max_entries=max_entries, max_scopes=max_scopes)
        self.index, self.policy = index, policy or CachePolicy()
        self.decide, self.threshold, self.max_error = decide, threshold, max_error
        self.compare: Comparator = compare or TextComparator()
        self.evidence = Evidence(max_error=max_error, audit=audit)
        self._keeper = Keeper(index, max_entries=max_entries, max_scopes=max_scopes)
        self._clock = clock
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._declined: Counter[str] = Counter()
        self._hits: dict[str, _Served] = {}
        self._near_misses: deque[NearMiss] = deque(maxlen=_REMEMBERED_REFUSALS)
        self._last_logged = self._last_saved = float("-inf")
        self._restore()

    # Looking up

    def lookup(self, asked: Asked, vector: Vector) -> SemanticHit | None:
        """The stored answer to this question in other words, if it may be served."""
        return self._decided(asked, self.search(asked, vector))

    async def alookup(self, asked: Asked, vector: Vector) -> SemanticHit | None:
        """:meth:`lookup` for an event loop."""
        return self._decided(asked, await self.asearch(asked, vector))

    def search(self, asked: Asked, vector: Vector) -> list[Found]:
        """The living neighbours in the scope, nearest first; none if the index fails."""
        try:
            return self._living(self.index.search(asked.scope, vector, NEIGHBOURS))
        except Exception as error:
            self.failed("lookup", error)
            return []

    async def asearch(self, asked: Asked, vector: Vector) -> list[Found]:
        """:meth:`search` for an event loop."""
        try:
            return self._living(await self.index.asearch(asked.scope, vector, NEIGHBOURS))
        except Exception as error:
            self.failed("lookup", error)
            return []

    def explain(self, asked: Asked, vector: Vector) -> Verdict:
        """What :meth:`lookup` would decide, without serving, counting or auditing."""
        with self._lock:
            return self._verdict(asked, self._neighbours(asked, self.search(asked, vector)))

    # Keeping

    def save(self, asked: Asked, vector: Vector, answer: Answer, text: str) -> str | None:
        """Learn from a paid answer and store it. Returns why it was not stored, if it was not."""
        if is_refusal(text):  # it fits every question, so it proves nothing about two of them
            self.decline("a refusal in words")
            return "a refusal in words"
        found = self.search(asked, vector)
        others = [one for one in found if one.entry.id != asked.key.digest]
        agreed = self.evidence.compare(text, others, self.compare)  # perhaps slow: not under the lock
        with self._lock:
            group = self._learned(asked, others, agreed, text)
        reason, entry = self._entry(asked, answer, text, group)
        if entry is None:
            self.decline(reason or "")
            return reason
        refuted = next((one.entry.refuted for one in found if one.entry.id == entry.id), ())
        try:
            self.index.put(asked.scope, replace(entry, refuted=refuted), vector)
            self._count("evicted", self._keeper.stored(asked.scope, self.evidence.counts))
        except Exception as error:
            self.failed("update", error)
            return "the index failed"
        self._count("stored")
        self._save_now_and_then()
        return None

    def seed(self, asked: Asked, vector: Vector, answer: Answer, text: str, *, pinned: bool = True) -> None:
        """Store an answer that a person wrote. Raises what the index raises."""
        reason, entry = self._entry(asked, answer, text, asked.key.digest)
        if entry is None:
            raise ConfigurationError(f"an answer cannot be stored: {reason}")
        self.index.put(asked.scope, replace(entry, pinned=pinned, expires=None), vector)
        self._keeper.stored(asked.scope, self.evidence.counts)

    # Feedback

    def refute(self, hit: str, *, everywhere: bool = False) -> bool:
        """The answer of this hit was wrong: never give it to that question again (``everywhere``: delete it).

        Returns whether the hit is known (the last few thousand are).
        """
        return self._told(hit, right=False, delete=everywhere)

    def confirm(self, hit: str) -> bool:
        """The answer of this hit was right."""
        return self._told(hit, right=True)

    def pin(self, hit: str) -> bool:
        """Keep the entry behind this hit: it does not expire and is not evicted."""
        served = self._hits.get(hit)
        return served is not None and rewrite(self.index, served.asked.scope, served.entry.id, as_pinned)

    def invalidate(self, tags: Mapping[str, str], *, scrub: bool = False) -> int:
        """Delete the entries that carry all the tags. Raises what the index raises.

        Raises:
            ValueError: no tag given.
        """
        if not tags:
            raise ValueError("name at least one tag, for example invalidate(document='faq-7')")
        return self.index.invalidate([f"{name}={value}" for name, value in tags.items()], scrub=scrub)

    def purge(self) -> int:
        """Delete what has expired; returns how many entries. Raises what the index raises."""
        removed = 0
        for scope in self.index.scopes():
            dead = [entry.id for entry in self.index.entries(scope) if not entry.alive(self._clock())]
            self.index.delete(scope, dead)
            self.evidence.forget(dead)
            removed += len(dead)
        return removed

    def clear(self) -> None:
        """Delete every entry; what was learned stays. Raises what the index raises."""
        self.index.clear()
        self._keeper.forget()

    def close(self) -> None:
        """Write down what was learned."""
        self.flush()
        self.index.close()

    def flush(self) -> None:
        """Write down what was learned."""
        try:
            with self._lock:
                state = self.evidence.dump()
            self.index.save_state(state)
        except Exception as error:
            self.failed("saving what was learned", error)

    def stats(self) -> SemanticStats:
        """What happened so far."""
        with self._lock:
            evidence, counts = self.evidence, self._counts
            right, wrong = evidence.audits["right"], evidence.audits["wrong"]
            cut = evidence.brake.cut if evidence.brake.is_open else None
            return SemanticStats(
                **{name: counts[name] for name in ("hits", "misses", "audits", "stored", "errors", "evicted", "saved")},
                declined=dict(self._declined),
                is_open=self.decide == "guarded" or evidence.brake.is_open,
                labels=evidence.brake.labels,
                measured_error=evidence.brake.measured(cut, z=1.96),
                audited_error=wilson(wrong, right + wrong),
                comparator_error=evidence.noise.rate,
                confirmed=evidence.feedback["confirmed"],
                refuted=evidence.feedback["refuted"],
            )

    def near_misses(self) -> list[NearMiss]:
        """The last questions that were similar enough and refused for what they say, newest last. In memory only."""
        return list(self._near_misses)

    def decline(self, reason: str) -> None:
        """Count a request that may not use the cache."""
        with self._lock:
            self._declined[reason] += 1

    def failed(self, what: str, error: Exception) -> None:
        """Count and, now and then, log a failure of the index or of the embeddings."""
        self._count("errors")
        now = time.monotonic()
        if now - self._last_logged >= _LOG_EVERY_SECONDS:
            self._last_logged = now
            # The class only: messages of drivers may quote keys or URLs with passwords.
            _log.warning(
                "semantic cache %s: %s failed (%s); the call is paid", self.index.url, what, type(error).__name__
            )

    # Inside

    def _living(self, found: Sequence[Found]) -> list[Found]:
        now = self._clock()
        return [one for one in found if one.entry.alive(now)]

    def _neighbours(self, asked: Asked, found: Sequence[Found]) -> list[Neighbour]:
        pair = pair_name(asked)
        return [self.evidence.neighbour(one, pair) for one in found]

    def _verdict(self, asked: Asked, neighbours: Sequence[Neighbour]) -> Verdict:
        if self.decide == "guarded":
            return guarded(asked.question, neighbours, threshold=self.threshold)
        return calibrated(asked.question, neighbours, self.evidence)

    def _decided(self, asked: Asked, found: Sequence[Found]) -> SemanticHit | None:
        try:
            return self._judged(asked, found)
        except Exception as error:  # a question that nobody thought of must not cost the user the answer
            self.failed("decision", error)
            return None

    def _judged(self, asked: Asked, found: Sequence[Found]) -> SemanticHit | None:
        with self._lock:
            verdict = self._verdict(asked, self._neighbours(asked, found)) if asked.key.lookup else None
            if verdict is None or not verdict.hit or verdict.neighbour is None:
                self._counts["misses"] += 1
                self._note_refusal(asked, verdict)
                return None
            if self._audits(asked, verdict):
                self._counts["misses"] += 1
                self._counts["audits"] += 1
                return None
            entry = next(one.entry for one in found if one.entry.id == verdict.neighbour.id)
            return self._served(asked, entry, verdict)

    def _note_refusal(self, asked: Asked, verdict: Verdict | None) -> None:
        if verdict is None or not verdict.refused:
            return
        neighbour, reason = verdict.refused[0]
        if neighbour.similarity >= self.threshold:
            self._near_misses.append(NearMiss(asked.question, neighbour.question, neighbour.similarity, reason))

    def _served(self, asked: Asked, entry: Entry, verdict: Verdict) -> SemanticHit | None:
        try:
            answer = from_bytes(entry.answer.encode())
        except Foreign:
            self._counts["misses"] += 1
            return None
        self._counts["hits"] += 1
        self._counts["saved"] += answer.cost or 0
        self.evidence.serve(entry.id, answer.cost or 0)
        name = blake2b(f"{asked.key.digest} {entry.id} {self._counts['hits']}".encode(), digest_size=10).hexdigest()
        self._hits[name] = _Served(asked, entry, verdict)
        while len(self._hits) > _REMEMBERED_HITS:
            del self._hits[next(iter(self._hits))]
        return SemanticHit(name, answer, entry, verdict)

    def _audits(self, asked: Asked, verdict: Verdict) -> bool:
        """Whether to check this hit by paying. Drawn from the question, so that asking twice draws the same lot."""
        if verdict.probability is None or not verdict.signs:
            return False
        seed = f"{asked.key.digest} {self.evidence.brake.labels} {sum(self.evidence.audits.values())}"
        lot = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest()) / 2**64
        return lot < self.evidence.brake.audit

    def _learned(self, asked: Asked, others: Sequence[Found], agreed: Mapping[str, bool], text: str) -> str:
        """Learn from a fresh answer; returns the group that it belongs to."""
        verdict = self._verdict(asked, self._neighbours(asked, others))
        label = self.evidence.label(asked.key.digest, others, agreed, verdict)
        self.evidence.merge(others, agreed, getattr(self.compare, "quick", self.compare), label.group)
        self.evidence.learn(verdict, label, served=verdict.hit)
        observe = getattr(self.compare, "observe", None)
        if callable(observe):
            observe(text)
        return label.group

    def _entry(self, asked: Asked, answer: Answer, text: str, group: str) -> tuple[str | None, Entry | None]:
        now = self._clock()
        try:
            data = to_bytes(answer if answer.created else replace(answer, created=now))
        except (TypeError, ValueError):
            return "the answer is not JSON", None
        ttl = asked.key.ttl
        if ttl is not None and ttl <= 0:
            return "ttl", None
        reason = self.policy.rejects(answer, choices=asked.key.choices, size=len(data))
        if reason is not None:
            return reason, None
        expires = None if ttl is None else now + ttl
        return None, Entry(
            id=asked.key.digest,
            question=asked.question,
            answer=data.decode(),
            text=text,
            group=group,
            created=now,
            expires=expires,
            cost=answer.cost,
            tags=asked.key.tags,
        )

    def _told(self, hit: str, *, right: bool, delete: bool = False) -> bool:
        with self._lock:
            served = self._hits.get(hit)
            if served is None:
                return False
            if served.told is right:
                return True  # said twice, it counts once
            self._hits[hit] = served._replace(told=right)
            self.evidence.feedback["confirmed" if right else "refuted"] += 1
            self.evidence.count(served.entry.id, right=right)
            if served.verdict.signs and served.verdict.probability is not None:
                self.evidence.model.learn(served.verdict.signs, right=right)
                self.evidence.brake.learn(served.verdict.probability, right=right, served=True)
            if not right:
                self.evidence.block(pair_name(served.asked), served.entry.id)
        if not right:
            self.flush()  # a refuted pair must not come back after a crash
            try:
                rewrite(self.index, served.asked.scope, served.entry.id, refuted_for(pair_name(served.asked)))
            except Exception as error:
                self.failed("telling others of a refutation", error)
        if delete:
            self.index.delete(served.asked.scope, [served.entry.id])
        return True

    def _restore(self) -> None:
        try:
            state = self.index.load_state()
            if state is not None:
                self.evidence.load(state)
        except Exception as error:
            self.failed("reading what was learned", error)

    def _save_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._last_saved >= _SAVE_EVERY_SECONDS:
            self._last_saved = now
            self.flush()

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by
