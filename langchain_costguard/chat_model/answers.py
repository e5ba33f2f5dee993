"""How a guarded model asks any LangChain cache: by the request itself, in streams too, once for identical requests."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, Generation

from costguard_core import Attribution, Outcome, Usage
from costguard_core.cache import Answer, CacheKey, Hit, NotCanonical, Seat, Uncacheable
from costguard_core.cache.semantic.hit import SemanticHit
from costguard_core.cache.semantic.query import SemanticQuery
from langchain_costguard.caches.exact import ExactCache, LayeredCache, foreign_string
from langchain_costguard.caches.semantic import SemanticCache
from langchain_costguard.translate.answers import MARK, answer_of, decode_hit
from langchain_costguard.translate.parameters import message_usage

logger = logging.getLogger("costguard.cache")


class Question(NamedTuple):
    """A chat request, whole."""

    model: BaseChatModel
    messages: Sequence[BaseMessage]
    stop: list[str] | None
    kwargs: Mapping[str, Any]
    attribution: Attribution


class Facts(NamedTuple):
    """What was paid for an answer when it was paid for. ``cost`` is nano-dollars; ``None``: the entry does not know."""

    usage: Usage | None = None
    cost: int | None = None
    model: str | None = None
    provider: str | None = None


class Served(NamedTuple):
    """An answer that nobody paid for now."""

    generations: list[ChatGeneration]
    outcome: Outcome
    facts: Facts


class Layer(Protocol):
    """One cache, asked one question."""

    def find(self) -> Served | None: ...
    async def afind(self) -> Served | None: ...
    def keep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None: ...
    async def akeep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None: ...


class Turn:
    """One request's place in the cache: ``served`` is the answer, or ``None``; then pay for it and :meth:`keep` it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self.served: Served | None = None

    def keep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        """Store a paid answer in every layer and give it to those who wait for it."""
        for layer in self._layers:
            layer.keep(generations, facts)

    async def akeep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        """:meth:`keep` for an event loop."""
        for layer in self._layers:
            await layer.akeep(generations, facts)

    def look(self) -> None:
        for index, layer in enumerate(self._layers):
            self.served = layer.find()
            if self.served is not None:
                for earlier in self._earlier(index):
                    earlier.keep(self.served.generations, self.served.facts)
                return

    async def alook(self) -> None:
        for index, layer in enumerate(self._layers):
            self.served = await layer.afind()
            if self.served is not None:
                for earlier in self._earlier(index):
                    await earlier.akeep(self.served.generations, self.served.facts)
                return

    def _earlier(self, index: int) -> Sequence[Layer]:
        """The layers to fill from a hit in this one; none from a semantic hit: it could not be refuted there."""
        return () if self.served is not None and self.served.outcome is Outcome.SEMANTIC else self._layers[:index]


def holds(cache: BaseCache, question: Question) -> bool:
    """Whether the cache would answer this question now."""
    return any(layer.find() is not None for layer in _layers(cache, question))


def looked(cache: BaseCache, question: Question) -> Turn:
    """A look into the cache. On a miss, give it to :func:`turn`, which will not look again."""
    mine = Turn(list(_layers(cache, question)))
    mine.look()
    return mine


async def alooked(cache: BaseCache, question: Question) -> Turn:
    """:func:`looked` for an event loop."""
    mine = Turn(list(_layers(cache, question)))
    await mine.alook()
    return mine


@contextmanager
def turn(cache: BaseCache | None, question: Question, begun: Turn | None = None) -> Iterator[Turn]:
    """Look up, and on a miss lead the request or wait for the one that does."""
    if cache is None:
        yield Turn(())
        return
    mine = begun or looked(cache, question)
    exact = mine.served is None and _first_exact(mine)
    if not exact:
        yield mine
        return
    with exact.cache.engine.flight(exact.key) as seat:
        exact.sit(seat)
        mine.served = exact.landed()
        yield mine


@asynccontextmanager
async def aturn(cache: BaseCache | None, question: Question, begun: Turn | None = None) -> AsyncIterator[Turn]:
    """:func:`turn` for an event loop."""
    if cache is None:
        yield Turn(())
        return
    mine = begun or await alooked(cache, question)
    exact = mine.served is None and _first_exact(mine)
    if not exact:
        yield mine
        return
    async with exact.cache.engine.aflight(exact.key) as seat:
        exact.sit(seat)
        mine.served = exact.landed()
        yield mine


class ExactLayer:
    """An :class:`ExactCache`, by the key of the request's objects."""

    def __init__(self, cache: ExactCache, key: CacheKey) -> None:
        self.cache, self.key = cache, key
        self._seat: Seat | None = None

    def sit(self, seat: Seat) -> None:
        self._seat = seat

    def landed(self) -> Served | None:
        """The answer of the identical request that this one waited for."""
        return None if self._seat is None or self._seat.hit is None else _served(self._seat.hit)

    def find(self) -> Served | None:
        hit = self.cache.engine.lookup(self.key)
        return None if hit is None else _served(hit)

    async def afind(self) -> Served | None:
        hit = await self.cache.engine.alookup(self.key)
        return None if hit is None else _served(hit)

    def keep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        answer = _answer(self.cache, generations, facts)
        if answer is not None:
            self._seat.save(answer) if self._seat else self.cache.engine.save(self.key, answer)

    async def akeep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        answer = _answer(self.cache, generations, facts)
        if answer is not None:
            await (self._seat.asave(answer) if self._seat else self.cache.engine.asave(self.key, answer))


class SemanticLayer:
    """A :class:`SemanticCache`, by question and scope of the request's objects."""

    def __init__(self, cache: SemanticCache, query: SemanticQuery) -> None:
        self.cache, self.query = cache, query

    def find(self) -> Served | None:
        return self._served(self.cache.find(self.query))

    async def afind(self) -> Served | None:
        return self._served(await self.cache.afind(self.query))

    def keep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        answer = _answer(self.cache, generations, facts)
        if answer is not None:
            self.cache.keep(self.query, answer)

    async def akeep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        answer = _answer(self.cache, generations, facts)
        if answer is not None:
            await self.cache.akeep(self.query, answer)

    def _served(self, hit: SemanticHit | None) -> Served | None:
        if hit is None:
            return None
        generations = [one for one in decode_hit(hit) if isinstance(one, ChatGeneration)]
        answer = hit.answer
        facts = Facts(answer.usage, answer.cost, answer.model, answer.provider)
        return Served(generations, Outcome.SEMANTIC, facts) if generations else None


class ForeignLayer:
    """Any other LangChain cache, by LangChain's own strings. It hands out its own objects, so they are copied.

    A failure is a miss, or an answer that is not kept: LangChain itself would lose the paid answer.
    """

    def __init__(self, cache: BaseCache, question: Question) -> None:
        self.cache = cache
        model, messages, stop, kwargs, attribution = question
        self._prompt = dumps([message.model_copy(update={"id": None}) for message in messages])
        self._llm_string = foreign_string(model._get_llm_string(stop=stop, **kwargs), attribution.tenant)

    def find(self) -> Served | None:
        with _unbroken("lookup", self.cache):
            return _foreign(self.cache.lookup(self._prompt, self._llm_string))
        return None

    async def afind(self) -> Served | None:
        with _unbroken("lookup", self.cache):
            return _foreign(await self.cache.alookup(self._prompt, self._llm_string))
        return None

    def keep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        with _unbroken("update", self.cache):
            self.cache.update(self._prompt, self._llm_string, deepcopy(list(generations)))

    async def akeep(self, generations: Sequence[ChatGeneration], facts: Facts) -> None:
        with _unbroken("update", self.cache):
            await self.cache.aupdate(self._prompt, self._llm_string, deepcopy(list(generations)))


@contextmanager
def _unbroken(what: str, cache: BaseCache) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.warning("costguard: %s %s failed (%s)", type(cache).__name__, what, type(error).__name__)


def _layers(cache: BaseCache, question: Question) -> Iterator[Layer]:
    match cache:
        case LayeredCache():
            for layer in cache.layers:
                yield from _layers(layer, question)
        case ExactCache():
            key: CacheKey | Uncacheable = Uncacheable("no key could be made")
            with _unbroken("key", cache):
                key = cache.keys.chat(*question)
            if isinstance(key, CacheKey):
                yield ExactLayer(cache, key)
            else:
                cache.engine.decline(key.reason)
        case SemanticCache():
            query = cache.query(*question)
            if query is not None:
                yield SemanticLayer(cache, query)
        case _:
            yield ForeignLayer(cache, question)


def _answer(cache: ExactCache | SemanticCache, generations: Sequence[ChatGeneration], facts: Facts) -> Answer | None:
    try:
        return replace(answer_of(generations), **facts._asdict())
    except NotCanonical as error:
        cache.engine.decline(str(error))
        return None


def _first_exact(mine: Turn) -> ExactLayer | None:
    return next((layer for layer in mine._layers if isinstance(layer, ExactLayer)), None)


def _served(hit: Hit) -> Served:
    generations = [found for found in decode_hit(hit) if isinstance(found, ChatGeneration)]
    answer = hit.answer
    return Served(generations, hit.outcome, Facts(answer.usage, answer.cost, answer.model, answer.provider))


def _foreign(found: Sequence[Generation] | None) -> Served | None:
    if not found or not all(isinstance(generation, ChatGeneration) for generation in found):
        return None
    generations: list[ChatGeneration] = deepcopy(list(found))  # type: ignore[arg-type]
    for generation in generations:
        generation.message.id = None
        generation.message.response_metadata[MARK] = {"cache": Outcome.EXACT.value, "saved_usd": None}
    return Served(generations, Outcome.EXACT, Facts(usage=message_usage(generations[0].message)))
