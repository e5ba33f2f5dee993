"""Several caches as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache import Answer, AnswerCache, CacheKey, Seat
from costguard_core.cache.exact.singleflight import Owner
from llamaindex_costguard.llm.places import Cache, Layer, Place, Served, Wanted
from llamaindex_costguard.validation import checked_cache


class LayeredCache:
    """Several caches as one: asked in order, and a hit in a later one fills the earlier ones.

    ``LayeredCache([ExactCache("sqlite:///costguard.db"), SemanticCache("wordllama")])``. A semantic hit fills no exact
    cache: there it could not be refuted.

    Raises:
        ConfigurationError: no layer, or something that is no cache.
    """

    def __init__(self, layers: Sequence[Cache]) -> None:
        listed: Any = layers  # or whatever else was handed in
        if not isinstance(listed, Sequence) or not listed:
            raise ConfigurationError("a LayeredCache needs a list of at least one layer")
        self.layers = tuple(checked_cache(layer) for layer in layers)

    def __deepcopy__(self, memo: dict[int, Any]) -> LayeredCache:
        return self  # a copied LLM keeps its cache

    def __repr__(self) -> str:
        return f"LayeredCache({list(self.layers)!r})"

    def bind(self, guard: CostGuard) -> None:
        """Bind every layer."""
        for cache in self.layers:
            cache.bind(guard)

    def clear(self) -> None:
        """Clear every layer."""
        for cache in self.layers:
            cache.clear()  # type: ignore[attr-defined]

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""
        for cache in self.layers:
            await cache.aclear()  # type: ignore[attr-defined]

    # For guarded LLMs

    def layers_for(self, wanted: Wanted) -> list[Layer]:
        return [layer for cache in self.layers for layer in cache.layers_for(wanted)]

    def board(self, wanted: Wanted) -> Place:
        return LayeredPlace(self.layers_for(wanted)).board()

    async def aboard(self, wanted: Wanted) -> Place:
        return await LayeredPlace(self.layers_for(wanted)).aboard()


class ExactLayer:
    """An exact cache, by the key of the request."""

    approximate = False

    def __init__(self, engine: AnswerCache, key: CacheKey) -> None:
        self._engine, self._key = engine, key
        self._seat = Seat(engine, key)

    def find(self) -> Served | None:
        return self._engine.lookup(self._key)

    async def afind(self) -> Served | None:
        return await self._engine.alookup(self._key)

    def begin(self) -> Served | None:
        self._seat = self._engine.begin(self._key, Owner.thread())
        return self._seat.hit

    async def abegin(self) -> Served | None:
        self._seat = await self._engine.abegin(self._key, Owner.task())
        return self._seat.hit

    def save(self, answer: Answer) -> None:
        self._seat.save(answer)

    async def asave(self, answer: Answer) -> None:
        await self._seat.asave(answer)

    def decline(self, reason: str) -> None:
        self._engine.decline(reason)
        self._seat.decline()

    def fail(self) -> None:
        self._seat.fail()


class LayeredPlace:
    """One request's place in several caches. The first exact one makes identical requests wait for each other."""

    __slots__ = ("_layers", "hit")

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self.hit: Served | None = None

    def board(self) -> LayeredPlace:
        """Look into every cache, and on a miss lead or wait."""
        for depth, layer in enumerate(self._layers):
            self.hit = layer.find()
            if self.hit is not None:
                for earlier in self._earlier(depth):
                    earlier.save(self.hit.answer)
                return self
        for layer in self._flying:
            self.hit = layer.begin()
        return self

    async def aboard(self) -> LayeredPlace:
        """:meth:`board` for an event loop."""
        for depth, layer in enumerate(self._layers):
            self.hit = await layer.afind()
            if self.hit is not None:
                for earlier in self._earlier(depth):
                    await earlier.asave(self.hit.answer)
                return self
        for layer in self._flying:
            self.hit = await layer.abegin()
        return self

    def save(self, answer: Answer) -> None:
        for layer in self._layers:
            layer.save(answer)

    async def asave(self, answer: Answer) -> None:
        for layer in self._layers:
            await layer.asave(answer)

    def decline(self, reason: str) -> None:
        for layer in self._layers:
            layer.decline(reason)

    def fail(self) -> None:
        for layer in self._layers:
            layer.fail()

    def _earlier(self, depth: int) -> Sequence[Layer]:
        return () if self._layers[depth].approximate else self._layers[:depth]

    @property
    def _flying(self) -> Sequence[Layer]:
        return [layer for layer in self._layers if not layer.approximate][:1]
