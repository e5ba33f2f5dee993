"""An embedding model that is its own class, and on a bill: metered, budgeted, and each text paid once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache as remembered
from functools import partial
from typing import Any, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache import VectorCache
from costguard_core.cache.secrets import without_secrets
from costguard_core.counters.effects import Flow
from costguard_core.guard import check_guard
from costguard_core.lifecycle import same_class
from costguard_core.lifecycle.drivers import arun, run
from costguard_core.lifecycle.embedding import Do, EmbeddingModel, embed, embed_paid
from costguard_core.lifecycle.nesting import is_metered, watching, within
from costguard_core.usage.embedding_client import Reported, recorded, reporting
from costguard_core.util.options import names_options
from costguard_core.util.urls import host_in
from llamaindex_costguard.translate.call_context import Scope
from llamaindex_costguard.translate.keys import SettingsMemory, identity_of, model_name, provider_of, who_asks
from llamaindex_costguard.translate.validation import checked_embedding

E = TypeVar("E", bound=BaseEmbedding)
Vector = list[float]
_SETTINGS = "_costguard"
_QUERY, _DOCUMENT = "query", "document"


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Bill:
    """What a guarded model knows beyond its own settings. Copies of it share this. ``name`` is what pickles call it."""

    name: str
    guard: CostGuard
    cache: str | None
    inner: type[BaseEmbedding]
    space: SettingsMemory[str] = field(default_factory=lambda: SettingsMemory(identity_of))
    caches: dict[str, VectorCache] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Bill:
        return self


@names_options
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
    check_guard(guard)
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
    return same_class.of_class(model, _guarded_class(bill.inner), _SETTINGS, bill)


def _restored(model: BaseEmbedding, recipe: same_class.Recipe) -> Any:
    return same_class.restored(model, recipe, _Bill, _put_on_bill, _Bill, GuardedEmbedding)


class GuardedEmbedding:
    """The public methods ask the cache; the private ones, which reach the provider, are admitted and metered."""

    # Cached

    def get_query_embedding(self, query: str) -> Any:
        return run(_embedding(self, _QUERY, [query], lambda texts: [bare(self).get_query_embedding(texts[0])]))[0]

    def get_text_embedding(self, text: str) -> Any:
        return run(_embedding(self, _DOCUMENT, [text], lambda texts: [bare(self).get_text_embedding(texts[0])]))[0]

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **kwargs: object) -> list[Vector]:
        def send(missing: list[str]) -> Any:
            return bare(self).get_text_embedding_batch(missing, show_progress=show_progress, **kwargs)

        return run(_embedding(self, _DOCUMENT, texts, send))

    async def aget_query_embedding(self, query: str) -> Any:
        async def send(texts: list[str]) -> Any:
            return [await bare(self).aget_query_embedding(texts[0])]

        return (await arun(_embedding(self, _QUERY, [query], send)))[0]

    async def aget_text_embedding(self, text: str) -> Any:
        async def send(texts: list[str]) -> Any:
            return [await bare(self).aget_text_embedding(texts[0])]

        return (await arun(_embedding(self, _DOCUMENT, [text], send)))[0]

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: object
    ) -> list[Vector]:
        async def send(missing: list[str]) -> Any:
            return await bare(self).aget_text_embedding_batch(missing, show_progress=show_progress, **kwargs)

        return await arun(_embedding(self, _DOCUMENT, texts, send))

    # Metered

    def _get_query_embedding(self, query: str) -> Any:
        return run(_paid(self, [query], lambda: bare(self)._get_query_embedding(query)))

    def _get_text_embedding(self, text: str) -> Any:
        return run(_paid(self, [text], lambda: bare(self)._get_text_embedding(text)))

    def _get_text_embeddings(self, texts: list[str]) -> Any:
        return run(_paid(self, texts, lambda: bare(self)._get_text_embeddings(texts)))

    async def _aget_query_embedding(self, query: str) -> Any:
        return await arun(_paid(self, [query], lambda: bare(self)._aget_query_embedding(query)))

    async def _aget_text_embedding(self, text: str) -> Any:
        return await arun(_paid(self, [text], lambda: bare(self)._aget_text_embedding(text)))

    async def _aget_text_embeddings(self, texts: list[str]) -> Any:
        return await arun(_paid(self, texts, lambda: bare(self)._aget_text_embeddings(texts)))

    # Clients of OpenAI's kind say what a request cost, and the integration drops it.

    def _get_client(self) -> Any:
        return recorded(bare(self)._get_client())

    def _get_aclient(self) -> Any:
        return recorded(bare(self)._get_aclient())

    def __reduce_ex__(self, protocol: object) -> Any:
        bill = _bill_of(self)
        if bill is None:
            return bare(self).__reduce_ex__(protocol)
        recipe = same_class.recipe(bill.name, bill.guard, bill.cache, bill.inner)
        return _restored, (same_class.of_class(self, bill.inner, _SETTINGS, None), recipe)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return without_secrets(bare(self).__repr_args__())


def bare(model: object) -> Any:
    """The methods that a guarded model has from its integration."""
    return super(GuardedEmbedding, model)


@remembered
def _guarded_class(inner: type[BaseEmbedding]) -> type[BaseEmbedding]:
    """The guarded subclass of an integration's class, under the same name."""
    return same_class.subclass(GuardedEmbedding, inner)


def _bill_of(model: object) -> _Bill | None:
    found = model.__dict__.get(_SETTINGS)
    return found if isinstance(found, _Bill) else None


def _vectors(model: object, bill: _Bill) -> VectorCache | None:
    """The cache of the space that the model's settings span now."""
    if bill.cache is None:
        return None
    space = bill.space.of(model)
    if space not in bill.caches:
        bill.caches[space] = VectorCache(bill.cache, space=space)
    return bill.caches[space]


def _model(model: Any, bill: _Bill) -> EmbeddingModel:
    host = host_in(bill.space.fields(model))
    return EmbeddingModel(bill.guard, model_name(model), provider_of(bill.inner), who_asks(bill.guard.tags), host)


def _embedding(model: object, kind: str, texts: Sequence[str], send: Callable[[list[str]], Any]) -> Flow[list[Vector]]:
    """The cached vectors of ``texts``; the others through the model's own method, whose requests are metered."""
    bill = _bill_of(model)
    if bill is None or is_metered(bill.guard):
        return list((yield Do(lambda: send(list(texts)))))
    guard = bill.guard

    def missing_vectors(missing: list[str]) -> Flow[Sequence[Vector]]:
        vectors: Sequence[Vector] = yield Do(partial(within, partial(watching, guard), partial(send, missing)))
        return vectors

    return (yield from embed(_model(model, bill), _vectors(model, bill), kind, texts, missing_vectors))


def _paid(model: object, texts: Sequence[str], send: Callable[[], Any]) -> Flow[Any]:
    """The vectors of ``texts`` from the provider: admitted and metered, unless a call around this one is."""
    bill = _bill_of(model)
    if bill is None or is_metered(bill.guard):
        return (yield Do(send))
    scope, reported = Scope(bill.guard), Reported()
    try:
        return (
            yield from embed_paid(
                _model(model, bill),
                texts,
                partial(within, partial(_reporting, scope, reported), send),
                reported=lambda: reported.tokens,
            )
        )
    finally:
        scope.open = False


@contextmanager
def _reporting(scope: Scope, reported: Reported) -> Iterator[None]:
    """A part of an admitted call, whose client says what it has read."""
    with scope, reporting(reported):
        yield
