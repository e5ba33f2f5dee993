"""The semantic cache without a framework: query and vector in, verdict out; and learning from every paid answer.

Nothing here raises because an index failed: a failed search is a miss, a failed write is counted and logged.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Literal

from costguard_core.cache.answer import Answer, UnreadableAnswer, from_bytes, to_bytes
from costguard_core.cache.keys import tags_to_invalidate
from costguard_core.cache.policy import CachePolicy
from costguard_core.cache.semantic.comparator.answer_features import is_refusal
from costguard_core.cache.semantic.comparator.comparator import Comparator, TextComparator
from costguard_core.cache.semantic.decision import (
    Verdict,
    calibrated,
    guarded,
    verified,
    worth_asking,
)
from costguard_core.cache.semantic.eviction import Evictor
from costguard_core.cache.semantic.evidence import Evidence
from costguard_core.cache.semantic.feedback import Feedback
from costguard_core.cache.semantic.hit import NearMiss, SemanticHit, SemanticStats
from costguard_core.cache.semantic.index.base import Entry, Found, Index, IndexUnavailable, Vector
from costguard_core.cache.semantic.index.write_behind import WriteBehindIndex
from costguard_core.cache.semantic.learning import wilson
from costguard_core.cache.semantic.query import SemanticQuery, question_digest
from costguard_core.cache.semantic.seeding import SEED_NEIGHBOURS, Wording, labels_of, learn_wordings
from costguard_core.cache.semantic.verifier import Verification, VerificationLedger, Verifier, VerifierCall
from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.util.numbers import number, whole_number
from costguard_core.util.options import check_choice
from costguard_core.util.threads import ask_in_thread

Decide = Literal["guarded", "calibrated", "verified"]

NEIGHBOURS = 8  # how many are looked at; more changed nothing on CLINC150 and HWU64
_LOG_EVERY_SECONDS = 60.0
_SAVE_EVERY_SECONDS = 30.0
_MAX_NEAR_MISSES = 100  # remembered for people to read

_COUNTED = ("hits", "misses", "audits", "stored", "errors", "evicted", "saved", "verified", "asked")

_log = logging.getLogger("costguard.cache")


class SemanticEngine:
    """Decides over one index.

    ``feedback`` is for what people say about hits.

    Args:
        index: where entries are.
        policy: which answers may be stored.
        decide: ``"calibrated"`` keeps the share of wrong hits below ``max_error`` and says how large it is;
            ``"guarded"`` trusts ``threshold`` and the vetoes; ``"verified"`` asks ``verify`` where ``"calibrated"`` is
            not sure enough.
        threshold: cosine, above 0 up to 1; higher is stricter.
        max_error: share of hits that may be wrong, above 0 and below 0.5.
        compare: do two answers say the same? (:class:`TextComparator`)
        audit: share of the hits, 0 to 1, that is paid for anyway, to measure.
        max_entries: per scope; the entries that save least per character go first.
        max_scopes: the scopes written longest ago go first.
        verify: do two questions want the same answer? For ``"verified"``.
        verify_deadline: seconds that a question waits for it.
        z: standard deviations by which the promise must hold.
        clock: unix seconds.

    Raises:
        ConfigurationError: an option is out of its range.
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
        verify: Verifier | None = None,
        verify_deadline: float = 3.0,
        z: float = 1.15,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if (decide == "verified") != (verify is not None):
            raise ConfigurationError('decide="verified" and verify=, a model or a function, belong together')
        _check_options(decide, threshold, max_error, audit, max_entries, max_scopes)
        self.index, self.policy = index, policy or CachePolicy()
        self.decide, self.threshold, self.max_error = decide, threshold, max_error
        self.compare: Comparator = compare or TextComparator()
        self.evidence = Evidence(max_error=max_error, audit=audit, z=z)
        self._evictor = Evictor(index, max_entries=max_entries, max_scopes=max_scopes)
        self._verify = None if verify is None else VerifierCall(verify, deadline=verify_deadline)
        self._ledger = VerificationLedger()
        self._clock = clock
        self.feedback = Feedback(lambda: self.index, self.evidence, flush=self.flush, record_error=self.record_error)
        self._counts: Counter[str] = Counter()
        self._declined: Counter[str] = Counter()
        self._near_misses: deque[NearMiss] = deque(maxlen=_MAX_NEAR_MISSES)
        self._last_logged = self._last_saved = float("-inf")
        if isinstance(index, WriteBehindIndex):
            index.on_lost = self._record_lost
        self._load_evidence()

    # Looking up

    def lookup(self, query: SemanticQuery, vector: Vector) -> SemanticHit | None:
        """The stored answer to this question in other words, if it may be served."""
        found = self.search(query, vector)
        if self._verify is not None:
            self._ask_verifier(query, found)
        return self._decide(query, found)

    async def alookup(self, query: SemanticQuery, vector: Vector) -> SemanticHit | None:
        """:meth:`lookup` for an event loop."""
        found = await self.asearch(query, vector)
        if self._verify is not None and found:
            await ask_in_thread(self._ask_verifier, query, found)
        return self._decide(query, found)

    def search(self, query: SemanticQuery, vector: Vector) -> list[Found]:
        """The neighbours in the scope that have not expired, nearest first; none if the index fails."""
        try:
            return self._alive(self.index.search(query.scope, vector, NEIGHBOURS))
        except Exception as error:
            self.record_error("lookup", error)
            return []

    async def asearch(self, query: SemanticQuery, vector: Vector) -> list[Found]:
        """:meth:`search` for an event loop."""
        try:
            return self._alive(await self.index.asearch(query.scope, vector, NEIGHBOURS))
        except Exception as error:
            self.record_error("lookup", error)
            return []

    def explain(self, query: SemanticQuery, vector: Vector) -> Verdict:
        """What :meth:`lookup` would decide, without serving, counting or auditing."""
        return self.verdict_on(query, self.search(query, vector))

    def explain_without(self, query: SemanticQuery, vector: Vector) -> Verdict:
        """:meth:`explain` as if the answer to this very request were not stored."""
        return self.verdict_on(query, without_its_own(query, self.search(query, vector)))

    def verdict_on(self, query: SemanticQuery, found: Sequence[Found]) -> Verdict:
        """What would be decided where these neighbours were found."""
        with self.evidence.lock:
            return self._verdict(query, found)

    # Storing

    def save(self, query: SemanticQuery, vector: Vector, answer: Answer, text: str) -> str | None:
        """Learn from a paid answer and store it. ``text`` is what it says.

        Returns why it was not stored, if it was not.
        """
        if is_refusal(text):  # it fits every question, so it proves nothing about two of them
            self.decline("a refusal in words")
            return "a refusal in words"
        found = self.search(query, vector)
        others = without_its_own(query, found)
        agreed = self.evidence.compare(text, others, self.compare)  # perhaps slow: not under the lock
        with self.evidence.lock:
            group = self._learn(query, others, agreed, text)
            self._ledger.paid(answer.cost)
        entry = self._entry(query, answer, text, group)
        if isinstance(entry, str):
            self.decline(entry)
            return entry
        try:
            self._put(query.scope, replace(entry, refuted=_refuted_of(entry.id, found)), vector)
        except Exception as error:
            self.record_error("update", error)
            return "the index failed"
        self._count("stored")
        return None

    def seed(
        self,
        query: SemanticQuery,
        vector: Vector,
        answer: Answer,
        text: str,
        *,
        pinned: bool = True,
        group: str | None = None,
    ) -> str | None:
        """Store an answer that a person wrote. Returns why it was not stored, if it was not.

        ``group`` names the answer where several wordings of the question have it. Raises what the index raises.
        """
        entry = self._entry(query, answer, text, group or query.key.digest)
        if isinstance(entry, str):
            self.decline(entry)
            return entry
        refuted = _refuted_of(entry.id, self.index.search(query.scope, vector, NEIGHBOURS))
        written = replace(entry, pinned=pinned, expires=None, written=True, refuted=refuted)
        self.index.put(query.scope, written, vector)
        self._evictor.after_write(query.scope, self.evidence.counts)
        return None

    def learn_from_seeds(self, wordings: Sequence[Wording]) -> None:
        """Learn from questions that were seeded which of them want the same. Raises what the index raises."""
        found = [self._alive(self.index.search(one.query.scope, one.vector, SEED_NEIGHBOURS)) for one in wordings]
        with self.evidence.lock:
            pairs = list(zip(wordings, found, strict=True))
            labels = [label for one, near in pairs for label in labels_of(self.evidence, one, near, NEIGHBOURS)]
            for label in labels:
                self.evidence.learn_known(label.verdict, right=label.right)
            for label in labels:
                self.evidence.promise_known(label.verdict, right=label.right)
            for one, near in pairs:
                learn_wordings(self.evidence, one, near, NEIGHBOURS)
        self.flush()

    def judge(self, query: SemanticQuery, vector: Vector, entry: str, *, same: bool, learn: bool = True) -> None:
        """:meth:`Feedback.judge` on what is found near this question."""
        self.feedback.judge(query, without_its_own(query, self.search(query, vector)), entry, same=same, learn=learn)

    # Removing

    def invalidate(self, tags: Mapping[str, str], *, scrub: bool = False) -> int:
        """Delete the entries that carry all the tags; with ``scrub`` nothing of them stays on disk.

        Raises:
            ConfigurationError: no tag given, or a name that is no tag.
            Exception: whatever the index raises.
        """
        return self.index.invalidate(tags_to_invalidate(tags), scrub=scrub)

    def purge(self) -> int:
        """Delete what has expired; returns how many entries. Raises what the index raises."""
        removed = 0
        for scope in self.index.scopes():
            expired = [entry.id for entry in self.index.entries(scope) if not entry.alive(self._clock())]
            self.index.delete(scope, expired)
            self.evidence.forget(expired)
            removed += len(expired)
        return removed

    def clear(self) -> None:
        """Delete every entry; what was learned stays. Raises what the index raises."""
        self.index.clear()
        self._evictor.forget()

    def close(self) -> None:
        """Save what was learned and let go of the index."""
        self.flush()
        self.index.close()

    def flush(self) -> None:
        """Save what was learned. Never raises."""
        try:
            with self.evidence.lock:
                state = self.evidence.dump()
            self.index.save_state(state)
        except Exception as error:
            self.record_error("saving what was learned", error)

    # Counting

    def stats(self) -> SemanticStats:
        """What happened so far."""
        with self.evidence.lock:
            evidence, counts = self.evidence, self._counts
            controller = evidence.controller
            right, wrong = evidence.audits["right"], evidence.audits["wrong"]
            cutoff = controller.cutoff if controller.is_open else None
            return SemanticStats(
                **{name: counts[name] for name in _COUNTED},
                verification_cost=self._ledger.cost,
                declined=dict(self._declined),
                is_open=self.decide != "calibrated"
                or controller.is_open
                or math.isfinite(min(evidence.close_from, evidence.written_from)),
                labels=controller.labels,
                measured_error=controller.measured(cutoff, z=1.96),
                audited_error=wilson(wrong, right + wrong),
                comparator_error=evidence.noise.rate,
                confirmed=evidence.feedback["confirmed"],
                refuted=evidence.feedback["refuted"],
            )

    def near_misses(self) -> list[NearMiss]:
        """The last questions that were similar enough and refused for what they say, newest last. In memory only."""
        return list(self._near_misses)

    def decline(self, reason: str) -> None:
        """Count a request or an answer that may not use the cache."""
        with self.evidence.lock:
            self._declined[reason] += 1

    def record_error(self, action: str, error: Exception) -> None:
        """Count and, at most once a minute, log a failure of the index or of the embeddings."""
        self._count("errors")
        now = time.monotonic()
        if now - self._last_logged >= _LOG_EVERY_SECONDS:
            self._last_logged = now
            # Of others the class only: messages of drivers may quote keys or URLs with passwords.
            shown = str(error) if isinstance(error, (CostGuardError, IndexUnavailable)) else type(error).__name__
            _log.warning("semantic cache %s: %s failed (%s); the call is paid", self.index.url, action, shown)

    # Inside

    def _alive(self, found: Sequence[Found]) -> list[Found]:
        now = self._clock()
        return [one for one in found if one.entry.alive(now)]

    def _verdict(self, query: SemanticQuery, found: Sequence[Found]) -> Verdict:
        neighbours = self.evidence.neighbours(query, found)
        if self.decide == "guarded":
            return guarded(query.question, neighbours, threshold=self.threshold)
        if self.decide == "verified":
            record = self.evidence.verifier
            needed = record.needed(self.max_error)
            return verified(query.question, neighbours, self.evidence, record, needed=needed, threshold=self.threshold)
        return calibrated(query.question, neighbours, self.evidence, threshold=self.threshold)

    def _decide(self, query: SemanticQuery, found: Sequence[Found]) -> SemanticHit | None:
        try:
            with self.evidence.lock:
                verdict = self._verdict(query, found) if query.key.lookup else None
                hit = None if verdict is None else self._serve(query, found, verdict)
                self._counts["misses" if hit is None else "hits"] += 1
                return hit
        except Exception as error:  # a question that nobody thought of must not cost the user the answer
            self.record_error("decision", error)
            return None

    def _ask_verifier(self, query: SemanticQuery, found: Sequence[Found]) -> None:
        """Ask about the candidates for which it pays, and remember what is said. Never raises."""
        try:
            with self.evidence.lock:
                asked = self._worth_asking(query, found)
            if not asked or self._verify is None:
                return
            texts = [one.neighbour.question for one in asked if one.neighbour is not None]
            self._count("asked")
            said = self._verify(query.question, texts, lambda late: self._remember(query, asked, late))
            if said is not None:
                self._remember(query, asked, said)
        except Exception as error:
            self.record_error("verification", error)

    def _worth_asking(self, query: SemanticQuery, found: Sequence[Found]) -> list[Verdict]:
        if not query.key.lookup:
            return []
        verdict = self._verdict(query, found)
        if verdict.hit:  # to ask costs less than to pay for the answer to check it
            asked = [verdict] if self._is_audited(query, verdict) and not _is_confirmed(verdict) else []
        else:
            neighbours, record = self.evidence.neighbours(query, found), self.evidence.verifier
            needed = record.needed(self.max_error)
            asked = worth_asking(query.question, neighbours, self.evidence, record, needed=needed)
        costs = {one.entry.id: one.entry.cost for one in found}
        return [one for one in asked if one.neighbour and self._ledger.pays(one, costs.get(one.neighbour.id))]

    def _remember(self, query: SemanticQuery, asked: Sequence[Verdict], said: Verification) -> None:
        digest = question_digest(query)
        with self.evidence.lock:
            self._ledger.asked(said.cost)
            for candidate, same in zip(asked, said.same, strict=True):
                if same is not None:
                    self.evidence.remember_verdict(digest, candidate, same=same)

    def _serve(self, query: SemanticQuery, found: Sequence[Found], verdict: Verdict) -> SemanticHit | None:
        if not verdict.hit or verdict.neighbour is None:
            self._note_near_miss(query, verdict)
            return None
        if self._is_audited(query, verdict):
            self._counts["audits"] += 1
            return None
        entry = next(one.entry for one in found if one.entry.id == verdict.neighbour.id)
        try:
            answer = from_bytes(entry.answer.encode())
        except UnreadableAnswer:
            return None
        owed = self._ledger.settle()
        self._counts["saved"] += (answer.cost or 0) - owed
        if verdict.basis == "verifier":
            self._counts["verified"] += 1
            self.evidence.verifier.served(self.evidence.verifier.probability(verdict.probability or 0.0, said=True))
        self.evidence.count_hit(entry.id, (answer.cost or 0) - owed)
        name = blake2b(f"{query.key.digest} {entry.id} {self._counts['hits'] + 1}".encode(), digest_size=10).hexdigest()
        self.feedback.expect(name, query, entry, verdict)
        return SemanticHit(name, answer, entry, verdict, owed, query)

    def _note_near_miss(self, query: SemanticQuery, verdict: Verdict) -> None:
        if verdict.refused and verdict.refused[0][0].similarity >= self.threshold:
            neighbour, reason = verdict.refused[0]
            self._near_misses.append(NearMiss(query.question, neighbour.question, neighbour.similarity, reason))

    def _is_audited(self, query: SemanticQuery, verdict: Verdict) -> bool:
        """Whether to check this hit by paying. Drawn from the question, so that asking twice draws the same lot."""
        if verdict.basis != "wordings" and (verdict.probability is None or not verdict.features):
            return False
        controller = self.evidence.controller
        share = self._audit_share(verdict)
        seed = f"{query.key.digest} {controller.labels} {sum(self.evidence.audits.values())}"
        lot = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest()) / 2**64
        return lot < share

    def _audit_share(self, verdict: Verdict) -> float:
        """The share of such hits that is paid for anyway."""
        evidence = self.evidence
        if verdict.basis in ("written", "same"):
            return evidence.controller.audit
        checked = evidence.verifier.audit_share(evidence.controller.audit) if _is_confirmed(verdict) else 1.0
        if verdict.basis == "verifier":
            return checked
        if verdict.basis == "wordings":
            return evidence.written.audit_share * checked
        if verdict.basis == "wording":
            return evidence.wording.audit_share * checked
        return evidence.controller.audit_share * checked

    def _learn(self, query: SemanticQuery, others: Sequence[Found], agreed: Mapping[str, bool], text: str) -> str:
        """Learn from a fresh answer; returns the group of equal answers that it belongs to."""
        verdict = self._verdict(query, others)
        label = self.evidence.label(query.key.digest, others, agreed, verdict)
        self.evidence.merge(others, agreed, getattr(self.compare, "quick", self.compare), label.group)
        share = self._audit_share(verdict)
        self.evidence.learn(verdict, label, audited=verdict.hit, audited_share=share)
        self.evidence.learn_written(verdict, agreed, audited_share=share)
        if self._verify is not None:
            self.evidence.learn_of_verifier(question_digest(query), agreed, verdict, audited_share=share)
        observe = getattr(self.compare, "observe", None)
        if callable(observe):
            observe(text)
        return label.group

    def _entry(self, query: SemanticQuery, answer: Answer, text: str, group: str) -> Entry | str:
        """The entry for an answer, or why it may not be stored."""
        now = self._clock()
        try:
            data = to_bytes(answer if answer.created else replace(answer, created=now))
        except (TypeError, ValueError):
            return "the answer is not JSON"
        ttl = query.key.ttl
        if ttl is not None and ttl <= 0:
            return "ttl"
        reason = self.policy.rejects(answer, choices=query.key.choices, size=len(data))
        if reason is not None:
            return reason
        return Entry(
            id=query.key.digest,
            question=query.question,
            answer=data.decode(),
            text=text,
            group=group,
            created=now,
            expires=None if ttl is None else now + ttl,
            cost=answer.cost,
            tags=query.key.tags,
        )

    def _put(self, scope: str, entry: Entry, vector: Vector) -> None:
        """Write an entry and what follows from it, in the background where the index does that. Raises what the index
        raises."""
        after = partial(self._after_write, scope)
        if isinstance(self.index, WriteBehindIndex):
            self.index.put_later(scope, entry, vector)
            self.index.later(after)
        else:
            self.index.put(scope, entry, vector)
            after()

    def _after_write(self, scope: str) -> None:
        try:
            self._count("evicted", self._evictor.after_write(scope, self.evidence.counts))
        except Exception as error:
            self.record_error("eviction", error)
        self._save_evidence_sometimes()

    def _record_lost(self, count: int, error: Exception) -> None:
        self._count("stored", -count)
        self.record_error("update", error)

    def _load_evidence(self) -> None:
        try:
            state = self.index.load_state()
            if state is not None:
                self.evidence.load(state)
        except Exception as error:
            self.record_error("reading what was learned", error)

    def _save_evidence_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._last_saved >= _SAVE_EVERY_SECONDS:
            self._last_saved = now
            self.flush()

    def _count(self, name: str, by: int = 1) -> None:
        with self.evidence.lock:
            self._counts[name] += by


def _is_confirmed(verdict: Verdict) -> bool:
    return verdict.neighbour is not None and verdict.neighbour.confirmed is True


def without_its_own(query: SemanticQuery, found: Sequence[Found]) -> list[Found]:
    """The neighbours but for the answer that is stored for this very request."""
    return [one for one in found if one.entry.id != query.key.digest]


def _check_options(
    decide: str, threshold: float, max_error: float, audit: float, max_entries: int, max_scopes: int
) -> None:
    check_choice("decide", decide, ("guarded", "calibrated", "verified"))
    number("threshold", threshold, above=0, at_most=1)
    number("max_error", max_error, above=0, below=0.5)
    number("audit", audit, at_least=0, at_most=1)
    whole_number("max_entries", max_entries, at_least=1)
    whole_number("max_scopes", max_scopes, at_least=1)


def _refuted_of(entry: str, found: Sequence[Found]) -> tuple[str, ...]:
    """The questions that an entry is no answer to, as it was stored before: storing it again forgets none of them."""
    return next((one.entry.refuted for one in found if one.entry.id == entry), ())
