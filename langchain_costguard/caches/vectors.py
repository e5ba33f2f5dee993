"""Questions → vectors: on the guard's bill, each text once, and with a name for the model that made them."""

from __future__ import annotations

from math import isfinite

from langchain_core.embeddings import Embeddings

from costguard_core import CostGuard
from costguard_core.cache.semantic.embeddings import LocalEmbedding, fingerprint, open_local
from langchain_costguard.embeddings.guarded import GuardedEmbeddings, _model_of, _provider_of, _settings
from langchain_costguard.translate.keys import Recent

_REMEMBERED = 512


class LocalEmbeddings(Embeddings):
    """An embedding model of this process as LangChain embeddings. It costs nothing, so it is on no bill."""

    def __init__(self, local: LocalEmbedding | str) -> None:
        self.local = open_local(local) if isinstance(local, str) else local
        self.model = self.local.name

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.local.embed(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.local.embed([text])[0]

    async def aembed_query(self, text: str) -> list[float]:
        return self.embed_query(text)  # a fraction of a millisecond to a few: a thread costs as much


class Vectors:
    """Embeds questions and remembers the last ones: the same question is looked up, and stored after a miss."""

    def __init__(self, embeddings: Embeddings | str) -> None:
        self.embeddings = LocalEmbeddings(embeddings) if isinstance(embeddings, str) else embeddings
        self.name = _model_of(self.embeddings)
        self.fingerprint = _fingerprint(self.embeddings, self.name)
        self._bound = self.embeddings
        self._recent: Recent[list[float]] = Recent(_REMEMBERED)

    def bind(self, guard: CostGuard | None) -> None:
        """Meter and budget the embeddings that somebody bills for."""
        billed = guard is not None and not isinstance(self.embeddings, (LocalEmbeddings, GuardedEmbeddings))
        self._bound = GuardedEmbeddings(self.embeddings, guard) if billed and guard is not None else self.embeddings

    def of(self, text: str) -> list[float]:
        """The vector of a question. Raises what the embeddings raise."""
        known = self._recent.get(text)
        if known is None:
            known = _checked(self._bound.embed_query(text))
            self._recent.put(text, known)
        return known

    async def aof(self, text: str) -> list[float]:
        """:meth:`of` for an event loop."""
        known = self._recent.get(text)
        if known is None:
            known = _checked(await self._bound.aembed_query(text))
            self._recent.put(text, known)
        return known

    def __repr__(self) -> str:
        return f"Vectors({self.name!r})"


def _checked(vector: list[float]) -> list[float]:
    """One bad vector is one miss; given to the index, it would look like an index that is down for everybody."""
    if len(vector) == 0 or not isfinite(sum(x * x for x in vector)):
        raise ValueError("an embedding must be finite numbers")
    return vector


def _fingerprint(embeddings: Embeddings, name: str) -> str:
    if isinstance(embeddings, LocalEmbeddings):
        return fingerprint("local", name)
    return fingerprint(_provider_of(embeddings), name, _settings(embeddings))
