"""Questions → vectors: on the guard's bill, each text once, and with a name for the model that made them."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from llama_index.core.base.embeddings.base import BaseEmbedding

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache import NotCanonical
from costguard_core.cache.semantic.embeddings import fingerprint, open_local
from llamaindex_costguard.embeddings.guarded import _bill_of, guard_embedding
from llamaindex_costguard.translate.identity import identity_of, model_name

_REMEMBERED = 512


class Vectors:
    """Embeds questions and remembers the last ones: the same question is looked up, and stored after a miss.

    Raises:
        ConfigurationError: neither a ``BaseEmbedding`` nor the name of a model that runs here.
        MissingExtraError: the package that runs it is not installed.
    """

    def __init__(self, embeddings: BaseEmbedding | str) -> None:
        if not isinstance(embeddings, (BaseEmbedding, str)):
            raise ConfigurationError(f'embeddings={embeddings!r} is not a BaseEmbedding, "wordllama" or "minilm"')
        self._local = open_local(embeddings) if isinstance(embeddings, str) else None
        self._model = None if isinstance(embeddings, str) else embeddings
        self.name = self._local.name if self._model is None and self._local is not None else model_name(self._given)
        self.fingerprint = fingerprint("local", self.name) if self._model is None else _fingerprint(self._model)
        self._recent: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = Lock()

    def bind(self, guard: CostGuard | None) -> None:
        """Meter and budget the embeddings that somebody bills for."""
        if guard is not None and self._model is not None and _bill_of(self._model) is None:
            self._model = guard_embedding(self._model, guard, cache=None)

    def of(self, text: str) -> list[float]:
        """The vector of a question. Raises what the embeddings raise."""
        known = self._known(text)
        if known is None:
            made = self._local.embed([text])[0] if self._local is not None else self._given.get_query_embedding(text)
            known = self._remember(text, made)
        return known

    async def aof(self, text: str) -> list[float]:
        """:meth:`of` for an event loop."""
        if self._local is not None:
            return self.of(text)  # a fraction of a millisecond to a few: a thread costs as much
        known = self._known(text)
        if known is None:
            known = self._remember(text, await self._given.aget_query_embedding(text))
        return known

    def __repr__(self) -> str:
        return f"Vectors({self.name!r})"

    @property
    def _given(self) -> BaseEmbedding:
        assert self._model is not None
        return self._model

    def _known(self, text: str) -> list[float] | None:
        with self._lock:
            if text in self._recent:
                self._recent.move_to_end(text)
            return self._recent.get(text)

    def _remember(self, text: str, vector: list[float]) -> list[float]:
        with self._lock:
            self._recent[text] = vector
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return vector


def _fingerprint(model: BaseEmbedding) -> str:
    try:
        return fingerprint("llamaindex", identity_of(model, type(model)))
    except NotCanonical:  # a setting that is a function, say
        return fingerprint("llamaindex", type(model).__qualname__, model_name(model))
