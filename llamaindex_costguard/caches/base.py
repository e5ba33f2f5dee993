"""What ``guard_llm(..., cache=...)`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache.layers import CacheLayer
from costguard_core.util.options import shown
from llamaindex_costguard.translate.keys import RequestContent


@runtime_checkable
class Cache(Protocol):
    """A cache of guarded LLMs."""

    def bind(self, guard: CostGuard) -> None:
        """Charge what the cache itself pays for to this guard."""

    def request_layers(self, request: RequestContent) -> Sequence[CacheLayer]:
        """The layers that may answer a request, in the order to be asked; none if it is not cacheable. Never raises."""

    def clear(self) -> None:
        """Delete the entries of this cache, and nothing else in its store."""

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""


def checked_cache(given: object) -> Cache:
    """``given``, which can be asked; raises ConfigurationError if it cannot."""
    if isinstance(given, Cache):
        return given
    raise ConfigurationError(
        f"{shown(given)} is not a cache for LlamaIndex: use ExactCache, SemanticCache or LayeredCache of "
        "llamaindex_costguard"
    )
