"""The semantic cache that both adapters derive theirs from: options, lookups, storing and feedback.

An adapter adds how a request of its framework is read, how its embeddings are called, and what its answers say.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from costguard_core.cache.answer import Answer
from costguard_core.cache.declared import FollowsRules
from costguard_core.cache.keys import NotCanonical, Uncacheable, digest
from costguard_core.cache.policy import CachePolicy
from costguard_core.cache.semantic.background_writer import BackgroundWriter
from costguard_core.cache.semantic.comparator.comparator import Comparator
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.embeddings import margin_of, open_local
from costguard_core.cache.semantic.engine import Decide, SemanticEngine
from costguard_core.cache.semantic.hit import NearMiss, SemanticHit, SemanticStats
from costguard_core.cache.semantic.index.base import Index
from costguard_core.cache.semantic.index.opening import open_index
from costguard_core.cache.semantic.index.write_behind import in_background
from costguard_core.cache.semantic.query import SemanticQuery, SemanticRequest, semantic_query
from costguard_core.cache.semantic.question_vectors import LocalEmbedder, QuestionVectors
from costguard_core.cache.semantic.seeding import Wording, wordings_of
from costguard_core.cache.semantic.verifier import Ask, ModelVerifier, Verifier
from costguard_core.cache.semantic.written import Seeded, written_answer
from costguard_core.cache.stats import stats_table
from costguard_core.errors import ConfigurationError
from costguard_core.types import MARK
from costguard_core.util.numbers import number
from costguard_core.util.options import check_flag, check_function, check_kind, check_like, check_text, names_options
from costguard_core.util.threads import ask_in_thread

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard

EmbeddingsT = TypeVar("EmbeddingsT")

_log = logging.getLogger("costguard.cache")


class BaseSemanticCache(FollowsRules, ABC, Generic[EmbeddingsT]):
    """Answers to the same question in other words.

    The lifecycle of a call uses :meth:`find` and :meth:`keep` with a query that the adapter's ``query`` makes of its
    request. Looking up and storing never raise: a broken index is a miss.
    """

    engine: SemanticEngine
    approximate = True  # its hits are not copied into exact caches, where they could not be refuted
    embeddings_class: ClassVar[type] = object  # of the framework's embeddings
    embedder_class: ClassVar[type[Any]]  # the QuestionEmbedder that asks them
    judge_class: ClassVar[type] = type(None)  # of models that judge
    judge_room: ClassVar[str] = ""  # the module that asks them; it knows this one, so it is found when first needed
    mark_field: ClassVar[str]  # the field of a served message that holds MARK
    _verify_with: Any = None  # the chat model that verifies
    _ask: Ask | None = None  # how it is asked

    @names_options
    def __init__(
        self,
        embeddings: EmbeddingsT | str,
        *,
        path: str | os.PathLike[str] | None = None,
        url: str | None = None,
        client: Any = None,
        index: Index | None = None,
        decide: Decide = "calibrated",
        threshold: float = 0.9,
        max_error: float = 0.02,
        compare: Comparator | None = None,
        audit: float = 0.02,
        ttl: float | None = None,
        policy: CachePolicy | None = None,
        history: bool = False,
        max_entries: int = 10_000,
        max_scopes: int = 200,
        namespace: str = "costguard",
        timeout: float = 0.1,
        guard: CostGuard | None = None,
        verify: Any = None,
        verify_deadline: float = 3.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
            embeddings: the framework's embeddings; or ``"wordllama"`` or ``"minilm"``, which run in this process and
                cost nothing.
            path: a folder for Chroma, used by one process. Without it, and the next three, entries are kept in memory
                and gone when the process ends.
            url: for several processes. On one machine: ``sqlite:///answers.db``, a file. A server: ``http://host:8000``
                of ``chroma run``, ``postgresql://host/db`` with pgvector, ``redis://host`` of Redis 8, or
                ``qdrant://host:6333``.
            client: an open Chroma client instead of the two.
            index: anything else that holds vectors, instead of these. Its writes come from a thread of the cache's.
            decide: ``"calibrated"`` serves only while fewer than ``max_error`` of the hits are wrong, which it learns
                from the answers that are paid for anyway; it starts closed. ``"guarded"`` serves above ``threshold``
                when no number, name, negation, opposite or order differs. ``"verified"`` asks ``verify`` where
                ``"calibrated"`` is not sure enough, before anything is served.
            threshold: cosine, above 0 up to 1; higher is stricter.
            max_error: share of hits that may be wrong, above 0 and below 0.5.
            compare: do two answers say the same? Free text by default; give your own for a domain (``(str, str) ->
                Comparison``).
            audit: share of the hits, 0 to 1, that is paid for anyway, to measure.
            ttl: seconds an entry lives; shorthand for ``policy.ttl``.
            policy: what may be cached and who shares it, as for an exact cache.
            history: answer inside conversations too; the history is then part of what must be equal.
            max_entries: per scope. A scope is a combination of all that must be equal.
            max_scopes: how many scopes are kept.
            namespace: first part of the cache's name in Chroma or on a server.
            timeout: seconds that a search on a server may take.
            guard: charged for embeddings, and its prices say what a hit saved.
            verify: for ``"verified"``: a small chat model, on the guard's bill under the endpoint
                ``costguard/verify``; or a function ``(question, stored questions) -> [True, False or None for each]``.
            verify_deadline: seconds that a question waits for it.
            clock: unix seconds.

        Raises:
            ConfigurationError: embeddings that are not known, or an option out of its range.
            MissingExtraError: the package behind the index or the embeddings is not installed.
        """
        policy = self._rules(policy, ttl)
        number("timeout", timeout, above=0)
        number("verify_deadline", verify_deadline, above=0)
        check_flag("history", history)
        check_text("namespace", namespace, '"costguard"')
        if path is not None:
            check_kind("path", path, (str, os.PathLike), 'a folder such as "costguard.chroma"')
            check_text("path", os.fspath(path), '"costguard.chroma"')
        if url is not None:
            check_text("url", url, '"http://localhost:8000" or "postgresql://host/db"')
        if index is not None:
            check_like("index", index, ("search", "url"), "an index, such as VectorStoreCacheIndex(…)")
        check_function("compare", compare, "a function (str, str) -> Comparison")
        if not isinstance(embeddings, str):
            known = f'"wordllama", "minilm" or of the class {self.embeddings_class.__name__}'
            check_kind("embeddings", embeddings, self.embeddings_class, known)
        self.vectors = QuestionVectors(
            LocalEmbedder(open_local(embeddings)) if isinstance(embeddings, str) else self.embedder_class(embeddings)
        )
        if index is None:
            space = self.vectors.embedder.space
            index = open_index(space, path=path, url=url, client=client, namespace=namespace, timeout=timeout)
        self.policy, self.history = policy, history
        self.engine = SemanticEngine(
            in_background(index),
            policy,
            decide=decide,
            threshold=threshold,
            max_error=max_error,
            compare=compare,
            audit=audit,
            max_entries=max_entries,
            max_scopes=max_scopes,
            verify=self._verifier(verify),
            verify_deadline=verify_deadline,
            z=margin_of(self.vectors.embedder.name),
            clock=clock,
        )
        self.writer = BackgroundWriter(self.engine)
        self.guard: CostGuard | None = None
        if guard is not None:
            check_like("guard", guard, ("prices", "ledger"), "a CostGuard")
            self.bind(guard)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self  # a copied model keeps its cache

    def __reduce__(self) -> Any:
        raise ConfigurationError(
            "a SemanticCache cannot be pickled: a folder is for one process. Make the cache where the model is loaded, "
            'with url="http://…" of a Chroma server to share it'
        )

    def __repr__(self) -> str:
        name, url = self.vectors.embedder.name, self.engine.index.url
        return f"{type(self).__name__}({name!r}, {url!r}, decide={self.engine.decide!r})"

    def _repr_html_(self) -> str:
        return stats_table(repr(self), self.stats())

    def bind(self, guard: CostGuard | None) -> None:
        """Charge embeddings to this guard and use its prices; ``None`` for neither."""
        self.guard = guard
        self.vectors.embedder.bind(guard)
        if self._verify_with is not None:
            self._ask = self._asker(self._verify_with, guard)
            if guard is not None:
                ModelVerifier.meter(guard)

    # What an adapter adds

    @abstractmethod
    def _text_of(self, payload: Any) -> str:
        """What a stored answer says, for comparing."""

    def _is_action(self, payload: Any) -> bool:
        """Whether a stored answer asks for a tool to be called."""
        return False

    def _asker(self, model: object, guard: CostGuard | None) -> Ask | None:
        """A model of the adapter's, as the core asks it; ``None``: it is none."""
        if not (self.judge_room and isinstance(model, self.judge_class)):
            return None
        return cast(Ask, import_module(self.judge_room).asker(model, guard))

    def _verifier(self, verify: Any) -> Verifier | None:
        """What ``verify=`` was given, as the engine asks it."""
        self._ask = self._asker(verify, None)
        if self._ask is not None:
            self._verify_with = verify
            return ModelVerifier(self._ask_now)
        if verify is not None and not callable(verify):
            raise ConfigurationError("verify= takes a chat model, or a function of a question and stored questions")
        return cast("Verifier | None", verify)

    def _ask_now(self, instructions: str, text: str) -> str:
        """With the guard that is bound by now."""
        if self._ask is None:
            raise RuntimeError("no model to ask")
        return self._ask(instructions, text)

    # For the lifecycle of a call

    def find(self, query: SemanticQuery) -> SemanticHit | None:
        """The stored answer to this question in other words. Never raises."""
        try:
            vector = self.vectors.of(query.question)
        except Exception as error:
            self.engine.record_error("embedding", error)
            return None
        return self.engine.lookup(query, vector)

    async def afind(self, query: SemanticQuery) -> SemanticHit | None:
        """:meth:`find` for an event loop."""
        try:
            vector = await self.vectors.aof(query.question)
        except Exception as error:
            self.engine.record_error("embedding", error)
            return None
        return await self.engine.alookup(query, vector)

    def keep(self, query: SemanticQuery, answer: Answer) -> None:
        """Learn from a paid answer, with its usage, cost, model and provider, and store it. Never raises."""
        try:
            if self._is_action(answer.payload) and not query.fills_schema:
                self.engine.decline("the answer is a tool call")
                return
            self.writer.save(query, self.vectors.of(query.question), answer, self._text_of(answer.payload))
        except Exception as error:
            self.engine.record_error("update", error)

    async def akeep(self, query: SemanticQuery, answer: Answer) -> None:
        """:meth:`keep` for an event loop: in a thread, because writing takes milliseconds, and a
        comparator may ask a model."""
        try:
            await self.vectors.aof(query.question)  # remembered for the thread
        except Exception as error:
            self.engine.record_error("embedding", error)
            return
        await ask_in_thread(self.keep, query, answer)

    def decline(self, reason: str) -> None:
        """Count an answer that cannot be kept."""
        self.engine.decline(reason)

    def _query(self, read: Callable[[], SemanticRequest]) -> SemanticQuery | None:
        """The query of a request, or ``None``, which is counted. Never raises."""
        found = self._query_or_reason(read)
        if isinstance(found, Uncacheable):
            self.engine.decline(found.reason)
            return None
        return found

    def _query_or_reason(self, read: Callable[[], SemanticRequest]) -> SemanticQuery | Uncacheable:
        try:
            return semantic_query(read(), space=self.vectors.embedder.space, history=self.history)
        except NotCanonical as error:
            return Uncacheable(str(error))
        except Exception as error:
            _log.warning("no semantic key could be made (%s); the call goes uncached", type(error).__name__)
            return Uncacheable("no key could be made")

    # Feedback

    @names_options
    def refute(self, hit: Any, *, everywhere: bool = False) -> bool:
        """This answer was wrong: never again give it to that question (``everywhere``: to any).

        ``hit`` is the message that was served, or the ``hit`` in its mark. Returns whether it is known.
        """
        name = self._hit_id(hit)
        return name is not None and self.engine.feedback.refute(name, everywhere=everywhere)

    def confirm(self, hit: Any) -> bool:
        """This answer was right. Returns whether the hit is known."""
        name = self._hit_id(hit)
        return name is not None and self.engine.feedback.confirm(name)

    def pin(self, hit: Any) -> bool:
        """Keep the entry behind this answer: it neither expires nor is evicted. Returns whether the hit is known."""
        name = self._hit_id(hit)
        return name is not None and self.engine.feedback.pin(name)

    def _hit_id(self, hit: Any) -> str | None:
        if isinstance(hit, str):
            return hit
        mark = getattr(hit, self.mark_field, {}).get(MARK, {})
        name = mark.get("hit")
        return name if isinstance(name, str) else None

    # Filling and emptying

    def _seed(
        self,
        answers: Mapping[str, str],
        reads: Sequence[Callable[[str], SemanticRequest]],
        paraphrases: Mapping[str, Sequence[str]] | None = None,
    ) -> Seeded:
        """Store written answers by question, pinned, and learn from them which questions want the same.

        ``reads``: the ways in which a question is asked (of each tier of a router, for instance). It is stored for each
        of them, and counted and learned from once.

        Raises what the embeddings or the index raise.
        """
        given: Any = answers  # or whatever else was handed in
        if not isinstance(given, Mapping) or not all(isinstance(one, str) for one in (*given, *given.values())):
            raise ConfigurationError("seed() takes a mapping of questions to answers, both texts")
        declined: dict[str, str] = {}
        stored: list[Wording] = []
        for question, wordings in wordings_of(answers, paraphrases).items():
            text = answers[question]
            group = digest("written", text.strip())
            for wording in wordings:
                found = [self._seed_one(partial(read, wording), text, group) for read in reads]
                kept = [one for one in found if not isinstance(one, str)]
                if len(kept) == len(found):
                    stored += kept[:1]
                else:
                    declined[wording] = next(one for one in found if isinstance(one, str))
        self.engine.learn_from_seeds(stored)
        if declined:
            reasons = "; ".join([f"{reason} ({count})" for reason, count in Counter(declined.values()).items()])
            asked = len(stored) + len(declined)
            _log.warning("%d of %d written answers were not stored: %s", len(declined), asked, reasons)
        return Seeded(len(stored), declined)

    def _seed_one(self, read: Callable[[], SemanticRequest], text: str, group: str) -> Wording | str:
        """The stored wording, or why it was not stored."""
        query = self._query_or_reason(read)
        if isinstance(query, Uncacheable):
            self.engine.decline(query.reason)
            return query.reason
        if not text.strip():
            return "the answer is empty"
        vector = self.vectors.of(query.question)
        return self.engine.seed(query, vector, written_answer(text), text, group=group) or Wording(query, vector, group)

    def clear(self) -> None:
        """Delete every entry of this cache, and nothing else in the index. What was learned stays.

        Raises what the index raises.
        """
        self.engine.clear()

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""
        await asyncio.to_thread(self.engine.clear)

    def invalidate(self, **tags: str) -> int:
        """Delete entries that carry all the tags, e.g. ``invalidate(document="faq-7")``; returns how many."""
        return self.engine.invalidate(tags)

    async def ainvalidate(self, **tags: str) -> int:
        """:meth:`invalidate` for an event loop."""
        return await asyncio.to_thread(self.engine.invalidate, tags)

    def erase(self, **tags: str) -> int:
        """:meth:`invalidate`, leaving nothing on disk: files that held the entries are written again. For
        ``erase(user="u1")``."""
        return self.engine.invalidate(tags, scrub=True)

    def purge(self) -> int:
        """Delete what has expired; returns how many entries."""
        return self.engine.purge()

    # Asking how it does

    def stats(self) -> SemanticStats:
        """Hits, misses, what was saved, what was declined and why, and the measured error with its interval."""
        return self.engine.stats()

    def near_misses(self) -> list[NearMiss]:
        """The last questions that were similar enough and refused for what they say; kept in memory only."""
        return self.engine.near_misses()

    def _explain(self, read: Callable[[], SemanticRequest]) -> Verdict:
        """What would be decided for a request, and why; nothing is served or counted."""
        query = self._query_or_reason(read)
        if isinstance(query, Uncacheable):
            return Verdict(False, query.reason)
        return self.engine.explain(query, self.vectors.of(query.question))

    def close(self) -> None:
        """Finish what waits in the background, save what was learned and let go of the index."""
        self.writer.close()
