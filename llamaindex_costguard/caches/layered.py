"""Several caches as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache.layers import CacheLayer
from llamaindex_costguard.caches.base import Cache, checked_cache
from llamaindex_costguard.translate.content import RequestContent


class LayeredCache:
    """Several caches as one: asked in order, and a hit in a later one fills the earlier ones.

    ``LayeredCache([ExactCache("sqlite:///costguard.db"), SemanticCache("wordllama")])``. A semantic hit fills no exact
    cache: there it could not be refuted.

    Raises:
        ConfigurationError: no layer, or something that is no cache.
    """

    def __init__(self, layers: Sequence[Cache]) -> None:
        given: Any = layers  # or whatever else was handed in
        if not isinstance(given, Sequence) or not given:
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
            cache.clear()

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""
        for cache in self.layers:
            await cache.aclear()

    def request_layers(self, request: RequestContent) -> list[CacheLayer]:
        """The layers that may answer a request, in the order to be asked."""
        return [layer for cache in self.layers for layer in cache.request_layers(request)]
