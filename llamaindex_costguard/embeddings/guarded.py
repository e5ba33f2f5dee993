"""An embedding model that is its own class, and on a bill: metered, budgeted, and each text paid once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache as remembered
from typing import Any, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding

from costguard_core import Call, ConfigurationError, CostGuard, Outcome, Usage
from costguard_core.cache import VectorCache
from llamaindex_costguard.embeddings.usage import Reported, recorded, reporting
from llamaindex_costguard.llm import pickling
from llamaindex_costguard.llm.call_context import Scope, is_metered, watching, who_asks
from llamaindex_costguard.llm.subclass import subclass
from llamaindex_costguard.translate.identity import (
    WhileUnchanged,
    identity_of,
    model_name,
    provider_of,
    without_secrets,
)
from llamaindex_costguard.validation import checked_embedding, checked_guard

E = TypeVar("E", bound=BaseEmbedding)
Vector = list[float]
_SETTINGS = "_costguard"
_HELD_IN_LOOP = 20_000  # characters that are counted on the event loop; more go to a thread
_QUERY, _DOCUMENT = "query", "document"


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Bill:
    """What a guarded model knows beyond its own settings. Copies of it share this. ``name`` is what pickles call it."""

    name: str
    guard: CostGuard
    cache: str | None
    inner: type[BaseEmbedding]
    space: WhileUnchanged[str] = field(default_factory=lambda: WhileUnchanged(identity_of))
    caches: dict[str, VectorCache] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bill:
        return self


def guard_embedding(model: E, guard: CostGuard, *, cache: str | None = "memory://") -> E:
    """``model``, with its calls budgeted, metered and cached; of the same class, with the same settings.

    Texts that were embedded before are not sent again, nor is one that occurs twice in a batch. Queries and documents
    are kept apart, and so are models: many embed the two differently. The provider's own usage is charged where the
    integration is built on OpenAI's client, and a marked estimate elsewhere.

    Args:
        model: any LlamaIndex embedding model. It is not changed.
        guard: the bill.
        cache: where vectors are kept: ``memory://``, ``sqlite:///path.db``, ``redis://host``, or ``None`` for no cache.

    Raises:
        ConfigurationError: the model is on another guard's bill already; or an argument is of the wrong kind.

    Raises (from every call): as :meth:`CostGuard.before`.
    """
    checked_embedding(model)
    checked_guard(guard)
    if not (cache is None or isinstance(cache, str)):
        raise ConfigurationError("cache= is where vectors are kept: a URL such as sqlite:///costguard.db, or None")
    before = _bill_of(model)
    if before is not None and before.guard is not guard:
        raise ConfigurationError(
            "this embedding model is on another guard's bill already; guard the one it was made from"
        )
    inner = before.inner if before is not None else type(model)
    return _put_on_bill(model, _Bill(guard.new_id(), guard, cache, inner))


def _put_on_bill(model: E, bill: _Bill) -> E:
    guarded = model.model_copy()
    object.__setattr__(guarded, "__class__", _guarded_class(bill.inner))
    guarded.__dict__[_SETTINGS] = bill
    pickling.remember(bill)
    return guarded


def _restored(model: BaseEmbedding, name: str) -> BaseEmbedding:
    return _put_on_bill(model, pickling.found(name, _Bill, "guard_embedding"))


class GuardedEmbedding:
    """The public methods ask the cache; the private ones, which reach the provider, are admitted and metered."""

    # Cached

    def get_query_embedding(self, query: str) -> Any:
        return self._remembered(_QUERY, [query], lambda texts: [bare(self).get_query_embedding(texts[0])])[0]

    def get_text_embedding(self, text: str) -> Any:
        return self._remembered(_DOCUMENT, [text], lambda texts: [bare(self).get_text_embedding(texts[0])])[0]

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **kwargs: Any) -> list[Vector]:
        def embed(missing: list[str]) -> Any:
            return bare(self).get_text_embedding_batch(missing, show_progress=show_progress, **kwargs)

        return self._remembered(_DOCUMENT, texts, embed)

    async def aget_query_embedding(self, query: str) -> Any:
        async def embed(texts: list[str]) -> Any:
            return [await bare(self).aget_query_embedding(texts[0])]

        return (await self._aremembered(_QUERY, [query], embed))[0]

    async def aget_text_embedding(self, text: str) -> Any:
        async def embed(texts: list[str]) -> Any:
            return [await bare(self).aget_text_embedding(texts[0])]

        return (await self._aremembered(_DOCUMENT, [text], embed))[0]

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Vector]:
        async def embed(missing: list[str]) -> Any:
            return await bare(self).aget_text_embedding_batch(missing, show_progress=show_progress, **kwargs)

        return await self._aremembered(_DOCUMENT, texts, embed)

    # Metered

    def _get_query_embedding(self, query: str) -> Any:
        return self._paid([query], lambda: bare(self)._get_query_embedding(query))

    def _get_text_embedding(self, text: str) -> Any:
        return self._paid([text], lambda: bare(self)._get_text_embedding(text))

    def _get_text_embeddings(self, texts: list[str]) -> Any:
        return self._paid(texts, lambda: bare(self)._get_text_embeddings(texts))

    async def _aget_query_embedding(self, query: str) -> Any:
        return await self._apaid([query], lambda: bare(self)._aget_query_embedding(query))

    async def _aget_text_embedding(self, text: str) -> Any:
        return await self._apaid([text], lambda: bare(self)._aget_text_embedding(text))

    async def _aget_text_embeddings(self, texts: list[str]) -> Any:
        return await self._apaid(texts, lambda: bare(self)._aget_text_embeddings(texts))

    # Clients of OpenAI's kind say what a request cost, and the integration drops it.

    def _get_client(self) -> Any:
        return recorded(bare(self)._get_client())

    def _get_aclient(self) -> Any:
        return recorded(bare(self)._get_aclient())

    def __reduce_ex__(self, protocol: Any) -> Any:
        bill = _bill_of(self)
        if bill is None:
            return bare(self).__reduce_ex__(protocol)
        return _restored, (pickling.bare_copy(self, bill.inner), bill.name)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return without_secrets(bare(self).__repr_args__())

    def _remembered(self, kind: str, texts: Sequence[str], embed: Callable[[list[str]], list[Vector]]) -> list[Vector]:
        bill = _bill_of(self)
        if bill is None or is_metered(bill.guard):
            return embed(list(texts))
        vectors = _vectors(self, bill)
        known = vectors.get(kind, texts) if vectors else {}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        _record_hits(self, bill, [text for text in texts if text in known])
        if missing:
            with watching(bill.guard):
                fresh = dict(zip(missing, embed(missing), strict=True))
            if vectors:
                vectors.put(kind, fresh)
            known.update(fresh)
        return [list(known[text]) for text in texts]

    async def _aremembered(self, kind: str, texts: Sequence[str], embed: Callable[[list[str]], Any]) -> list[Vector]:
        bill = _bill_of(self)
        if bill is None or is_metered(bill.guard):
            return list(await embed(list(texts)))
        vectors = _vectors(self, bill)
        known = await vectors.aget(kind, texts) if vectors else {}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        _record_hits(self, bill, [text for text in texts if text in known])
        if missing:
            with watching(bill.guard):
                fresh = dict(zip(missing, await embed(missing), strict=True))
            if vectors:
                await vectors.aput(kind, fresh)
            known.update(fresh)
        return [list(known[text]) for text in texts]

    def _paid(self, texts: Sequence[str], embed: Callable[[], Any]) -> Any:
        bill = _bill_of(self)
        if bill is None or is_metered(bill.guard):
            return embed()
        permit = bill.guard.before(_call(self, bill, texts))
        scope = Scope(bill.guard)
        try:
            with scope, reporting() as reported:
                vectors = embed()
        except BaseException as error:
            bill.guard.fail(permit, error)
            raise
        finally:
            scope.close()
        bill.guard.after(permit, _usage(permit.call, reported))
        return vectors

    async def _apaid(self, texts: Sequence[str], embed: Callable[[], Any]) -> Any:
        bill = _bill_of(self)
        if bill is None or is_metered(bill.guard):
            return await embed()
        permit = await bill.guard.abefore(await _acall(self, bill, texts))
        scope = Scope(bill.guard)
        try:
            with scope, reporting() as reported:
                vectors = await embed()
        except BaseException as error:
            await asyncio.shield(bill.guard.afail(permit, error))
            raise
        finally:
            scope.close()
        await asyncio.shield(bill.guard.aafter(permit, _usage(permit.call, reported)))
        return vectors


def bare(model: Any) -> Any:
    """The methods that a guarded model has from its integration."""
    return super(GuardedEmbedding, model)


@remembered
def _guarded_class(inner: type[BaseEmbedding]) -> type[BaseEmbedding]:
    """The guarded subclass of an integration's class, under the same name."""
    return subclass(GuardedEmbedding, inner)


def _bill_of(model: Any) -> _Bill | None:
    found = model.__dict__.get(_SETTINGS)
    return found if isinstance(found, _Bill) else None


def _vectors(model: Any, bill: _Bill) -> VectorCache | None:
    """The cache of the space that the model's settings span now."""
    if bill.cache is None:
        return None
    space = bill.space.of(model, bill.inner)
    if space not in bill.caches:
        bill.caches[space] = VectorCache(bill.cache, space=space)
    return bill.caches[space]


def _call(model: Any, bill: _Bill, texts: Sequence[str]) -> Call:
    """One provider call for ``texts``; always counted, because few integrations say what it cost."""
    name, provider = model_name(model), provider_of(bill.inner)
    counts = [bill.guard.tokens.count(text, model=name, provider=provider) for text in texts]
    return Call(
        id=bill.guard.new_id(),
        model=name,
        started=bill.guard.clock(),
        provider=provider,
        attribution=who_asks(),
        input_tokens=sum(count.bound for count in counts),
        input_estimated=any(count.estimated for count in counts),
        kind="embedding",
    )


async def _acall(model: Any, bill: _Bill, texts: Sequence[str]) -> Call:
    if sum(map(len, texts)) < _HELD_IN_LOOP:
        return _call(model, bill, texts)
    return await asyncio.to_thread(_call, model, bill, texts)


def _record_hits(model: Any, bill: _Bill, served: Sequence[str]) -> None:
    if not served:
        return
    call = _call(model, bill, served)
    usage = _usage(call, Reported())
    saved = bill.guard.prices.cost(usage, model=call.model, provider=call.provider, at=call.started)
    bill.guard.hit(call, Outcome.EXACT, saved=saved, usage=usage)


def _usage(call: Call, reported: Reported) -> Usage:
    if reported.tokens is not None:
        return Usage(input_tokens=reported.tokens)
    return Usage(input_tokens=call.input_tokens or 0, estimated=True)
