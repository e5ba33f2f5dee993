"""Embeddings that are metered, budgeted and paid once per text. LangChain gives them no callbacks: they are wrapped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.embeddings import Embeddings

from costguard_core import Call, CostGuard, Outcome, Usage
from costguard_core.attribution import current_attribution
from costguard_core.budgets.admission import Permit
from costguard_core.cache import VectorCache

_MODEL_NAMES = ("model", "model_name", "model_id", "deployment")
_PROVIDER_OF_PACKAGE = {"aws": "amazon_bedrock", "google_vertexai": "google_vertexai"}
_SETTINGS = ("dimensions", "output_dimensionality", "openai_api_base", "base_url", "task_type")
# Of the fields of any integration: those that are named like a way to embed, such as `query_instruction`,
# `encode_kwargs`, `normalize`, `truncate`, `embed_type_query`.
_TELLING_PARTS = (
    "instruction",
    "prefix",
    "prompt",
    "encode",
    "model_kwargs",
    "normal",
    "truncat",
    "pooling",
    "revision",
    "type",
    "dimension",
    "precision",
)
_HELD_IN_LOOP = 20_000  # characters that are counted on the event loop; more go to a thread


class GuardedEmbeddings(Embeddings):
    """``embeddings`` on the bill of ``guard``; each distinct text is paid once, also within one batch.

    Args:
        embeddings: any LangChain embeddings.
        guard: the bill.
        cache: where vectors are kept: a URL as for :class:`ExactCache` (``memory://`` by default), or ``None`` for no
            cache.
        model, provider: for prices, if they cannot be read off ``embeddings``.

    The provider's own usage is lost inside LangChain, so tokens are counted and marked as an estimate. Documents and
    queries are kept apart: many models embed them differently.

    Raises (from every call): as :meth:`CostGuard.before`.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        guard: CostGuard,
        *,
        cache: str | None = "memory://",
        model: str | None = None,
        provider: str | None = None,
    ) -> None:
        self.embeddings = embeddings
        self.guard = guard
        self.model = model or _model_of(embeddings)
        self.provider = provider or _provider_of(embeddings)
        self._vectors = VectorCache(cache, space=(self.provider, self.model, _settings(embeddings))) if cache else None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embed("document", texts, self.embeddings.embed_documents)

    def embed_query(self, text: str) -> list[float]:
        return self._embed("query", [text], lambda one: [self.embeddings.embed_query(one[0])])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return await self._aembed("document", texts, self.embeddings.aembed_documents)

    async def aembed_query(self, text: str) -> list[float]:
        async def embed(one: list[str]) -> list[list[float]]:
            return [await self.embeddings.aembed_query(one[0])]

        return (await self._aembed("query", [text], embed))[0]

    def _embed(
        self, kind: str, texts: Sequence[str], embed: Callable[[list[str]], list[list[float]]]
    ) -> list[list[float]]:
        known = self._vectors.get(kind, texts) if self._vectors else {}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        self._record_hits(texts, missing)
        if missing:
            permit = self.guard.before(self._call(missing))
            try:
                fresh = dict(zip(missing, embed(missing), strict=True))
            except BaseException as error:
                self.guard.fail(permit, error)
                raise
            self.guard.after(permit, _usage(permit))
            if self._vectors:
                self._vectors.put(kind, fresh)
            known.update(fresh)
        return [list(known[text]) for text in texts]

    async def _aembed(self, kind: str, texts: Sequence[str], embed: Callable[[list[str]], Any]) -> list[list[float]]:
        known = await self._vectors.aget(kind, texts) if self._vectors else {}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        self._record_hits(texts, missing)
        if missing:
            permit = await self.guard.abefore(await self._acall(missing))
            try:
                fresh = dict(zip(missing, await embed(missing), strict=True))
            except BaseException as error:
                await asyncio.shield(self.guard.afail(permit, error))
                raise
            await asyncio.shield(self.guard.aafter(permit, _usage(permit)))
            if self._vectors:
                await self._vectors.aput(kind, fresh)
            known.update(fresh)
        return [list(known[text]) for text in texts]

    def _call(self, texts: Sequence[str]) -> Call:
        """One provider call for ``texts``; always counted, because nothing else says what it cost."""
        counted = [self.guard.tokens.count(text, model=self.model, provider=self.provider) for text in texts]
        return Call(
            id=self.guard.new_id(),
            model=self.model,
            started=self.guard.clock(),
            provider=self.provider,
            attribution=current_attribution(),
            input_tokens=sum(count.bound for count in counted),
            input_estimated=any(count.estimated for count in counted),
            kind="embedding",
        )

    async def _acall(self, texts: Sequence[str]) -> Call:
        if sum(map(len, texts)) < _HELD_IN_LOOP:
            return self._call(texts)
        return await asyncio.to_thread(self._call, texts)

    def _record_hits(self, texts: Sequence[str], missing: Sequence[str]) -> None:
        served = [text for text in texts if text not in set(missing)]
        if not served:
            return
        call = self._call(served)
        usage = Usage(input_tokens=call.input_tokens or 0, estimated=True)
        saved = self.guard.prices.cost(usage, model=self.model, provider=self.provider, at=call.started)
        self.guard.hit(call, Outcome.EXACT, saved=saved, usage=usage)


def _usage(permit: Permit) -> Usage:
    return Usage(input_tokens=permit.call.input_tokens or 0, estimated=True)


def _model_of(embeddings: Embeddings) -> str:
    names = (getattr(embeddings, name, None) for name in _MODEL_NAMES)
    return next((name for name in names if isinstance(name, str) and name), type(embeddings).__name__)


def _provider_of(embeddings: Embeddings) -> str | None:
    """``langchain_openai`` → ``openai``: integrations are named after their provider."""
    package = type(embeddings).__module__.partition(".")[0]
    if not package.startswith("langchain_") or package == "langchain_core":
        return None
    name = package.removeprefix("langchain_")
    return _PROVIDER_OF_PACKAGE.get(name, name)


def _settings(embeddings: Embeddings) -> tuple[tuple[str, str], ...]:
    """What else changes the vectors: the size asked for, the endpoint, instructions and ways to encode."""
    fields = getattr(type(embeddings), "model_fields", ())
    names = dict.fromkeys((*_SETTINGS, *(name for name in fields if _changes_vectors(name))))
    found = ((name, getattr(embeddings, name, None)) for name in names)
    return tuple((name, str(value)) for name, value in found if value is not None)


def _changes_vectors(name: str) -> bool:
    return any(part in name for part in _TELLING_PARTS)
