"""``SemanticCache``: the same question in other words gets the same answer, from Chroma or any vector index."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms import LLM

from costguard_core import CostGuard, Outcome
from costguard_core.cache import Answer, CachePolicy, Uncacheable
from costguard_core.cache.semantic.async_writer import Saver
from costguard_core.cache.semantic.comparator.comparator import Comparator
from costguard_core.cache.semantic.decision import Verdict
from costguard_core.cache.semantic.engine import Decide, SemanticEngine
from costguard_core.cache.semantic.hit import Asked, NearMiss, SemanticHit, SemanticStats
from costguard_core.cache.semantic.index.base import Index
from costguard_core.cache.semantic.index.opening import open_index
from costguard_core.types import usd
from llamaindex_costguard.caches.layered import LayeredPlace
from llamaindex_costguard.caches.vectors import Vectors
from llamaindex_costguard.llm.call_context import who_asks
from llamaindex_costguard.llm.places import Place, Served, Wanted
from llamaindex_costguard.translate.answers import MARK, said, written
from llamaindex_costguard.translate.parameters import facts_of
from llamaindex_costguard.translate.prompts import Chat
from llamaindex_costguard.translate.semantic_keys import Questions


class SemanticCache:
    """Answers to the same question in other words: ``guard_llm(llm, guard, cache=SemanticCache("wordllama"))``.

    Only the question is embedded. In a RAG prompt it is the one that the template was filled with; retrieved context,
    template, system prompt, tenant, model and settings, output class and embedding model must be equal, or it is
    another cache. Conversations, agents and requests that offer tools are left to the exact cache.

    Args:
        embeddings: any LlamaIndex embedding model; or ``"wordllama"`` or ``"minilm"``, which run here and cost nothing.
        path: a folder, for one process. url, client: a ``chroma run`` server, for several. index: anything else.
        decide: ``"calibrated"`` serves only while fewer than ``max_error`` of the hits are wrong, which it learns from
            the answers that are paid for anyway; it starts closed. ``"guarded"`` serves above ``threshold`` (cosine;
            higher is stricter) when no number, name, negation, opposite or order differs.
        compare: do two answers say the same? Free text by default; give your own for a domain (``(str, str) ->
            Comparison``).
        audit: share of the hits that is paid for anyway, to measure.
        ttl: seconds an entry lives; shorthand for ``policy.ttl``.
        policy: what may be cached and who shares it, as for :class:`ExactCache`.
        history: answer inside conversations too; the history is then part of what must be equal.
        max_entries: per scope. max_scopes: how many scopes are kept; a scope is a combination of all that must be
            equal.
        guard: the bill that embeddings are on; :func:`guard_llm` binds it.

    Looking up and storing never raise: a broken index is a miss.

    Raises:
        ConfigurationError: embeddings that are not known, or numbers out of range.
        MissingExtraError: the package behind the index or the embeddings is not installed.
    """

    def __init__(
        self,
        embeddings: BaseEmbedding | str,
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        policy = CachePolicy.of(policy, ttl)
        self.vectors = Vectors(embeddings)
        space = self.vectors.fingerprint
        if index is None:
            index = open_index(space, path=path, url=url, client=client, namespace=namespace, timeout=timeout)
        self.engine = SemanticEngine(
            index,
            policy,
            decide=decide,
            threshold=threshold,
            max_error=max_error,
            compare=compare,
            audit=audit,
            max_entries=max_entries,
            max_scopes=max_scopes,
            clock=clock,
        )
        self.saver = Saver(self.engine)
        self.questions = Questions(policy, space=space, history=history)
        self.guard: CostGuard | None = None
        if guard is not None:
            self.bind(guard)

    def __deepcopy__(self, memo: dict[int, Any]) -> SemanticCache:
        return self  # a copied LLM keeps its cache

    def __repr__(self) -> str:
        return f"SemanticCache({self.vectors.name!r}, {self.engine.index.url!r}, decide={self.engine.decide!r})"

    def bind(self, guard: CostGuard) -> None:
        """Put embeddings on this guard's bill. The first one stays: a cache that two share pays once."""
        if self.guard is None:
            self.guard = guard
            self.vectors.bind(guard)

    # Feedback and care

    def refute(self, hit: Any, *, everywhere: bool = False) -> bool:
        """This answer was wrong: never again give it to that question (``everywhere``: to any).

        ``hit`` is the response that was served, or its ``additional_kwargs["costguard"]["hit"]``. Returns whether it is
        known.
        """
        name = _name_of(hit)
        return name is not None and self.engine.refute(name, everywhere=everywhere)

    def confirm(self, hit: Any) -> bool:
        """This answer was right. Returns whether the hit is known."""
        name = _name_of(hit)
        return name is not None and self.engine.confirm(name)

    def pin(self, hit: Any) -> bool:
        """Keep the entry behind this answer: it neither expires nor is evicted. Returns whether the hit is known."""
        name = _name_of(hit)
        return name is not None and self.engine.pin(name)

    def clear(self) -> None:
        """Delete every entry; what was learned stays. Raises what the index raises."""
        self.engine.clear()

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""
        await asyncio.to_thread(self.clear)

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

    def seed(self, answers: Mapping[str, str], llm: LLM, *, before: Sequence[ChatMessage] = (), **kwargs: Any) -> int:
        """Store written answers by question, pinned; ``before`` are the messages in front of the question.

        They answer ``llm.chat``. Returns how many were stored. Raises what the embeddings or the index raise.
        """
        stored = 0
        for question, text in answers.items():
            wanted = _chat(llm, [*before, ChatMessage(role=MessageRole.USER, content=question)], kwargs)
            asked = self._counted(self.questions.asked(wanted))
            if asked is not None:
                answer = Answer(payload=written(text), finish=("stop",))
                self.engine.seed(asked, self.vectors.of(asked.question), answer, text)
                stored += 1
        return stored

    def purge(self) -> int:
        """Delete what has expired; returns how many entries."""
        return self.engine.purge()

    def stats(self) -> SemanticStats:
        """Hits, misses, what was saved, what was declined and why, and the measured error with its interval."""
        return self.engine.stats()

    def near_misses(self) -> list[NearMiss]:
        """The last questions that were similar enough and refused for what they say; kept in memory only."""
        return self.engine.near_misses()

    def explain(self, llm: LLM, messages: Sequence[ChatMessage], **kwargs: Any) -> Verdict:
        """What would be decided for this ``llm.chat`` request, and why; nothing is served or counted."""
        asked = self.questions.asked(_chat(llm, messages, kwargs))
        if isinstance(asked, Uncacheable):
            return Verdict(False, asked.reason)
        return self.engine.explain(asked, self.vectors.of(asked.question))

    def close(self) -> None:
        """Write down what was learned and let go of the index."""
        self.saver.close()

    # For guarded LLMs

    def layers_for(self, wanted: Wanted) -> list[SemanticLayer]:
        """This cache for one request; nothing if it leaves the request alone."""
        asked = self._counted(self.questions.asked(wanted))
        return [] if asked is None else [SemanticLayer(self, asked)]

    def board(self, wanted: Wanted) -> Place:
        """See :class:`LayeredPlace`."""
        return LayeredPlace(self.layers_for(wanted)).board()

    async def aboard(self, wanted: Wanted) -> Place:
        """:meth:`board` for an event loop."""
        return await LayeredPlace(self.layers_for(wanted)).aboard()

    def _counted(self, asked: Asked | Uncacheable) -> Asked | None:
        if isinstance(asked, Uncacheable):
            self.engine.decline(asked.reason)
            return None
        return asked


@dataclass(frozen=True, slots=True)
class Similar:
    """A semantic hit as guarded LLMs serve it."""

    hit: SemanticHit

    @property
    def answer(self) -> Answer:
        return self.hit.answer

    @property
    def payload(self) -> Any:
        return self.hit.answer.payload

    @property
    def cost(self) -> int | None:
        return self.hit.answer.cost

    @property
    def outcome(self) -> Outcome:
        return Outcome.SEMANTIC

    @property
    def saved_usd(self) -> Any:
        return usd(self.hit.saved)

    @property
    def marks(self) -> dict[str, Any]:
        """What the response says of the hit."""
        return {"similarity": round(self.hit.similarity, 4), "hit": self.hit.id}


class SemanticLayer:
    """A :class:`SemanticCache`, by question and scope of the request."""

    approximate = True

    def __init__(self, cache: SemanticCache, asked: Asked) -> None:
        self._engine, self._saver, self._vectors, self._asked = cache.engine, cache.saver, cache.vectors, asked

    def find(self) -> Served | None:
        try:
            vector = self._vectors.of(self._asked.question)
        except Exception as error:
            self._engine.failed("embedding", error)
            return None
        hit = self._engine.lookup(self._asked, vector)
        return None if hit is None else Similar(hit)

    async def afind(self) -> Served | None:
        try:
            vector = await self._vectors.aof(self._asked.question)
        except Exception as error:
            self._engine.failed("embedding", error)
            return None
        hit = await self._engine.alookup(self._asked, vector)
        return None if hit is None else Similar(hit)

    def begin(self) -> Served | None:
        return None

    async def abegin(self) -> Served | None:
        return None

    def save(self, answer: Answer) -> None:
        try:
            vector = self._vectors.of(self._asked.question)
            self._saver.save(self._asked, vector, answer, said(answer.payload))
        except Exception as error:
            self._engine.failed("update", error)

    async def asave(self, answer: Answer) -> None:
        try:
            await self._vectors.aof(self._asked.question)  # remembered for the thread
        except Exception as error:
            self._engine.failed("embedding", error)
            return
        await asyncio.to_thread(self.save, answer)  # writing takes milliseconds

    def decline(self, reason: str) -> None:
        self._engine.decline(reason)

    def fail(self) -> None:
        """Nobody waits for it."""


def _chat(llm: LLM, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Wanted:
    from llamaindex_costguard.llm.guarded import guarding_of

    guarding = guarding_of(llm)
    inner = type(llm) if guarding is None else guarding.inner
    return Wanted(facts_of(llm, inner), Chat(messages), kwargs, None, who_asks())


def _name_of(hit: Any) -> str | None:
    if isinstance(hit, str):
        return hit
    mark = getattr(hit, "additional_kwargs", {}).get(MARK, {})
    name = mark.get("hit")
    return name if isinstance(name, str) else None
