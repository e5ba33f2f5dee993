"""Caches asked for one request, in order: the part of a model call that looks up, joins, and stores.

A layer is one cache with the key of one request. An exact layer makes identical requests wait for each other; a hit in
a later layer fills the earlier ones, unless the hit is approximate: copied into an exact cache it could not be refuted.

A framework may ask in two steps, first for an answer, later to keep the one that was paid for: `TwoStepCall`.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as _running_loop  # `get_running_loop` without an error where there is none
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Protocol

from costguard_core.cache.answer import Answer, CachedAnswer
from costguard_core.cache.exact.engine import AnswerCache, FlightHandle
from costguard_core.cache.exact.singleflight import Owner
from costguard_core.cache.keys import CacheKey


class CacheLayer(Protocol):
    """One cache, asked for one request. No method raises because a store failed.

    ``approximate``: its hits are not copied into other layers.
    """

    approximate: bool

    def find(self) -> CachedAnswer | None: ...
    async def afind(self) -> CachedAnswer | None: ...
    def store(self, answer: Answer) -> None: ...
    async def astore(self, answer: Answer) -> None: ...
    def decline(self, reason: str) -> None: ...


class SemanticLookup(Protocol):
    """What a semantic layer asks; see :class:`costguard_core.cache.semantic.cache.BaseSemanticCache`."""

    def find(self, query: Any) -> CachedAnswer | None: ...
    async def afind(self, query: Any) -> CachedAnswer | None: ...
    def keep(self, query: Any, answer: Answer) -> None: ...
    async def akeep(self, query: Any, answer: Answer) -> None: ...
    def decline(self, reason: str) -> None: ...


@dataclass(slots=True, eq=False)
class ExactLayer:
    """An exact cache, by the key of the request.

    Attributes:
        engine: the cache.
        key: of the request.
        handle: what joining the identical requests gave; ``None`` before that.
    """

    engine: AnswerCache
    key: CacheKey
    handle: FlightHandle | None = None
    approximate = False

    def find(self) -> CachedAnswer | None:
        return self.engine.lookup(self.key)

    async def afind(self) -> CachedAnswer | None:
        return await self.engine.alookup(self.key)

    def join(self, owner: Owner | None = None) -> CachedAnswer | None:
        """After a miss: lead the identical requests, or wait for the answer of the one that does."""
        self.handle = self.engine.join(self.key, owner)
        return self.handle.cached

    async def ajoin(self, owner: Owner | None = None) -> CachedAnswer | None:
        """:meth:`join` for an event loop."""
        self.handle = await self.engine.ajoin(self.key, owner)
        return self.handle.cached

    def store(self, answer: Answer) -> None:
        if self.handle is None:
            self.engine.save(self.key, answer)
        else:
            self.handle.save(answer)

    async def astore(self, answer: Answer) -> None:
        if self.handle is None:
            await self.engine.asave(self.key, answer)
        else:
            await self.handle.asave(answer)

    def decline(self, reason: str) -> None:
        self.engine.decline(reason)
        if self.handle is not None:
            self.handle.decline()


class SemanticLayer:
    """A semantic cache, by the question and scope of the request. ``cache`` is asked with ``query``, and stores answers
    under it."""

    __slots__ = ("cache", "query")
    approximate = True

    def __init__(self, cache: SemanticLookup, query: object) -> None:
        self.cache, self.query = cache, query

    def find(self) -> CachedAnswer | None:
        return self.cache.find(self.query)

    async def afind(self) -> CachedAnswer | None:
        return await self.cache.afind(self.query)

    def store(self, answer: Answer) -> None:
        self.cache.keep(self.query, answer)

    async def astore(self, answer: Answer) -> None:
        await self.cache.akeep(self.query, answer)

    def decline(self, reason: str) -> None:
        self.cache.decline(reason)


def find(layers: Sequence[CacheLayer]) -> CachedAnswer | None:
    """The first answer that a layer has; it is copied into the layers before."""
    for depth, layer in enumerate(layers):
        cached = layer.find()
        if cached is not None:
            if depth and not layer.approximate:
                answer = cached.answer
                for earlier in layers[:depth]:
                    earlier.store(answer)
            return cached
    return None


async def afind(layers: Sequence[CacheLayer]) -> CachedAnswer | None:
    """:func:`find` for an event loop."""
    for depth, layer in enumerate(layers):
        cached = await layer.afind()
        if cached is not None:
            if depth and not layer.approximate:
                answer = cached.answer
                for earlier in layers[:depth]:
                    await earlier.astore(answer)
            return cached
    return None


def store(layers: Sequence[CacheLayer], answer: Answer) -> None:
    """Store a paid answer in every layer, and give it to the requests that wait for it."""
    for layer in layers:
        layer.store(answer)


async def astore(layers: Sequence[CacheLayer], answer: Answer) -> None:
    """:func:`store` for an event loop."""
    for layer in layers:
        await layer.astore(answer)


def exact_layer(layers: Sequence[CacheLayer]) -> ExactLayer | None:
    """The layer in which identical requests wait for each other: the first exact one."""
    for layer in layers:
        if isinstance(layer, ExactLayer):
            return layer
    return None


class TwoStepCall:
    """One call, with all the requests that are made in it: a context manager, in which it is :func:`current_call`.

    Attributes:
        is_open: whether it is under way.
    """

    __slots__ = ("_flights", "_here", "_token", "is_open")

    def __enter__(self) -> None:
        here: object = get_ident()
        if _running_loop() is not None:
            here = asyncio.current_task() or here
        self._here, self.is_open = here, True
        self._flights: dict[str, FlightHandle] = {}
        self._token = _current.set(self)
        _under_way.add(self)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        _under_way.discard(self)
        self.is_open = False
        if self._flights:
            for handle in self._flights.values():
                handle.fail()  # harmless where an answer was saved

    @property
    def owner(self) -> Owner:
        """Leads the flights of this call for as long as it is open."""
        return Owner(self._here, lambda: self.is_open)

    def find(self, layers: Sequence[CacheLayer]) -> CachedAnswer | None:
        """The first step: what a layer has, or what an identical request that is under way answers."""
        cached = find(layers)
        if cached is None and (exact := exact_layer(layers)) is not None:
            cached = exact.join(self.owner)
            self._lead(exact)
        return cached

    async def afind(self, layers: Sequence[CacheLayer]) -> CachedAnswer | None:
        """:meth:`find` for an event loop."""
        cached = await afind(layers)
        if cached is None and (exact := exact_layer(layers)) is not None:
            cached = await exact.ajoin(self.owner)
            self._lead(exact)
        return cached

    def leading(self, layers: Sequence[CacheLayer]) -> Sequence[CacheLayer]:
        """For the second step: the layers, so that storing, or declining, ends the flight that the first one began."""
        exact = exact_layer(layers)
        if exact is not None:
            exact.handle = self._flights.get(exact.key.digest)
        return layers

    def _lead(self, exact: ExactLayer) -> None:
        if exact.handle is not None and exact.handle.leads:
            self._flights[exact.key.digest] = exact.handle


_current: ContextVar[TwoStepCall | None] = ContextVar("costguard_model_call", default=None)
_under_way: set[TwoStepCall] = set()


current_call = _current.get
"""The call in whose context this code runs, or ``None``."""


def is_any_under_way() -> bool:
    """Whether some call is under way anywhere in this process: a request that is in the context of none may be one of
    its."""
    return bool(_under_way)
