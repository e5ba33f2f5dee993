"""Several caches as one."""

from __future__ import annotations

from costguard_core.cache.layered_cache import BaseLayeredCache
from costguard_core.cache.layers import CacheLayer
from llamaindex_costguard.caches.base import Cache, checked_cache
from llamaindex_costguard.translate.keys import RequestContent


class LayeredCache(BaseLayeredCache[Cache]):
    """Several caches as one: asked in order, and a hit in a later one fills the earlier ones.

    ``LayeredCache([ExactCache("sqlite:///costguard.db"), SemanticCache("wordllama")])``. A semantic hit fills no exact
    cache: there it could not be refuted.

    Raises:
        ConfigurationError: no layer, or something that is no cache.
    """

    def check_layer(self, layer: object) -> None:
        checked_cache(layer)

    def request_layers(self, request: RequestContent) -> list[CacheLayer]:
        """The layers that may answer a request, in the order to be asked."""
        return [layer for cache in self.layers for layer in cache.request_layers(request)]
