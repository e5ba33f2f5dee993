"""LlamaIndex embedding models as the semantic cache uses them: one question at a time, charged to a guard."""

from __future__ import annotations

from llama_index.core.base.embeddings.base import BaseEmbedding

from costguard_core import CostGuard
from costguard_core.cache import NotCanonical
from costguard_core.cache.semantic.embeddings import fingerprint
from llamaindex_costguard.embeddings.guarded import _bill_of, guard_embedding
from llamaindex_costguard.translate.keys import identity_of, model_name


class LlamaIndexEmbedder:
    """Embeds with ``model``; once bound, each call is metered and budgeted."""

    def __init__(self, model: BaseEmbedding) -> None:
        self.model = model
        self.name = model_name(model)
        self.space = _space(model)

    def bind(self, guard: CostGuard | None) -> None:
        """Charge calls to this guard; a model that is on a bill already stays there."""
        if guard is not None and _bill_of(self.model) is None:
            self.model = guard_embedding(self.model, guard, cache=None)

    def embed(self, text: str) -> list[float]:
        return self.model.get_query_embedding(text)

    async def aembed(self, text: str) -> list[float]:
        return await self.model.aget_query_embedding(text)


def _space(model: BaseEmbedding) -> str:
    try:
        return fingerprint("llamaindex", identity_of(model, type(model)))
    except NotCanonical:  # a setting that is a function, say
        return fingerprint("llamaindex", type(model).__qualname__, model_name(model))
