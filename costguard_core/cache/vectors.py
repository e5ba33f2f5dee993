"""Embeddings, kept by the text that they are of. A vector never goes stale, so there is no policy: only a space."""

from __future__ import annotations

import logging
import sys
from array import array
from collections.abc import Mapping, Sequence

from costguard_core.cache.exact.stores import CacheStore, open_cache_store
from costguard_core.cache.keys import canonical, digest

_log = logging.getLogger("costguard.cache")
_MAGIC = b"cgv1"
_FAILED = "vector cache %s: %s failed (%s); vectors are paid for again"


_MODEL_NAMES = ("model", "model_name", "model_id", "deployment")
_SETTINGS = ("dimensions", "output_dimensionality", "openai_api_base", "base_url", "task_type")
# Of the fields of any integration: those that are named like a way to embed, such as `query_instruction`,
# `encode_kwargs`, `normalize`, `truncate`, `embed_type_query`.
_TELLING_PARTS = (
    "instruction prefix prompt encode model_kwargs normal truncat pooling revision type dimension precision".split()
)


class VectorCache:
    """Vectors of one embedding model. ``space`` is what changes a vector: provider, model, dimensions, endpoint.

    ``kind`` separates documents from queries, which some models embed differently. Store failures are misses.
    """

    def __init__(self, store: str | CacheStore, *, space: object, namespace: str = "costguard.vectors") -> None:
        self.store = open_cache_store(store, namespace=namespace) if isinstance(store, str) else store
        self._space = canonical(space)

    def get(self, kind: str, texts: Sequence[str]) -> dict[str, list[float]]:
        """The texts whose vectors are known."""
        try:
            found = {text: self.store.get(self._key(kind, text)) for text in dict.fromkeys(texts)}
        except Exception as error:
            return self._failed("lookup", error)
        return _known(found)

    def put(self, kind: str, vectors: Mapping[str, Sequence[float]]) -> None:
        try:
            for text, vector in vectors.items():
                self.store.put(self._key(kind, text), _pack(vector))
        except Exception as error:
            self._failed("update", error)

    async def aget(self, kind: str, texts: Sequence[str]) -> dict[str, list[float]]:
        """:meth:`get` for an event loop."""
        try:
            found = {text: await self.store.aget(self._key(kind, text)) for text in dict.fromkeys(texts)}
        except Exception as error:
            return self._failed("lookup", error)
        return _known(found)

    async def aput(self, kind: str, vectors: Mapping[str, Sequence[float]]) -> None:
        """:meth:`put` for an event loop."""
        try:
            for text, vector in vectors.items():
                await self.store.aput(self._key(kind, text), _pack(vector))
        except Exception as error:
            self._failed("update", error)

    def _key(self, kind: str, text: str) -> str:
        return digest("vector", self._space, kind, canonical(text))

    def _failed(self, what: str, error: Exception) -> dict[str, list[float]]:
        _log.warning(_FAILED, self.store.url, what, type(error).__name__)
        return {}


def _known(found: Mapping[str, bytes | None]) -> dict[str, list[float]]:
    vectors = ((text, _unpack(data)) for text, data in found.items())
    return {text: vector for text, vector in vectors if vector is not None}


def _pack(vector: Sequence[float]) -> bytes:
    numbers = array("d", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return _MAGIC + numbers.tobytes()


def _unpack(data: bytes | None) -> list[float] | None:
    if data is None or not data.startswith(_MAGIC) or (len(data) - len(_MAGIC)) % 8:
        return None
    numbers = array("d", data[len(_MAGIC) :])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def embedding_name(embeddings: object) -> str:
    """The model that a framework's object embeds with, else the name of its class."""
    names = (getattr(embeddings, name, None) for name in _MODEL_NAMES)
    return next((name for name in names if isinstance(name, str) and name), type(embeddings).__name__)


def vector_settings(embeddings: object) -> tuple[tuple[str, str], ...]:
    """What else changes the vectors: the size asked for, the endpoint, instructions and ways to encode."""
    fields = (
        name for name in getattr(type(embeddings), "model_fields", ()) if any(map(name.__contains__, _TELLING_PARTS))
    )
    found = ((name, getattr(embeddings, name, None)) for name in dict.fromkeys((*_SETTINGS, *fields)))
    return tuple((name, str(value)) for name, value in found if value is not None)
