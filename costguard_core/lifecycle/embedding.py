"""Embeddings, written once for every framework: each distinct text is paid for once, and what is paid is a model call.

:func:`embed` looks into a vector cache and embeds what is missing; :func:`embed_paid` is the call of a provider for
some texts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from costguard_core.budgets.admission import Permit
from costguard_core.cache.vectors import VectorCache
from costguard_core.counters.effects import Flow
from costguard_core.lifecycle.calls import price_of
from costguard_core.lifecycle.lifecycle import Count, paid_call
from costguard_core.lifecycle.request import ProviderRequest
from costguard_core.types import Attribution, Call, Outcome, Usage, UsageReport

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard

Vector = list[float]
T = TypeVar("T")


class EmbeddingModel(NamedTuple):
    """Who embeds, for whom, and on whose budgets; ``host`` is where its settings send its requests."""

    guard: CostGuard
    model: str
    provider: str | None
    attribution: Attribution
    host: str | None = None

    def call(self, texts: Iterable[str]) -> Call:
        """One provider call for ``texts``; always counted, because few integrations say what it cost."""
        guard, model, provider, attribution, host = self
        counts = [guard.tokens.count(text, model=model, provider=provider) for text in texts]
        return Call(
            id=guard.new_id(),
            model=model,
            started=guard.clock(),
            provider=provider,
            attribution=attribution,
            input_tokens=sum(count.bound for count in counts),
            input_estimated=any(count.estimated for count in counts),
            kind="embedding",
            host=host,
        )

    def record_hits(self, texts: Sequence[str]) -> None:
        """Record the texts whose vectors were known, and what that saved."""
        call = self.call(texts)
        usage = Usage(input_tokens=call.input_tokens or 0, estimated=True)
        self.guard.hit(call, Outcome.EXACT, saved=price_of(self.guard, call, usage), usage=usage)


class EmbeddingRequest(ProviderRequest[Any]):
    """One call of a provider for some texts.

    ``send`` makes it and returns the vectors, or an awaitable of them. ``reported`` gives the input tokens that the
    provider said it has read, ``None`` if it says nothing.
    """

    is_always_counted = True

    def __init__(
        self,
        model: EmbeddingModel,
        texts: Sequence[str],
        send: Callable[[], object],
        *,
        reported: Callable[[], int | None],
    ) -> None:
        self._model, self._texts, self._send, self._reported = model, texts, send, reported
        self.guard = model.guard
        self.streamed = False
        self.asynchronous = True  # perhaps: only the driver knows
        self._counted = 0

    @property
    def characters(self) -> int:
        return sum(map(len, self._texts))

    def call(self) -> Call:
        call = self._model.call(self._texts)
        self._counted = call.input_tokens or 0
        return call

    def send(self, permit: Permit) -> Any:
        return self._send()

    def usage_report(self, answer: object) -> UsageReport:
        tokens = self._reported()
        if tokens is None:
            return UsageReport(Usage(input_tokens=self._counted, estimated=True))
        return UsageReport(Usage(input_tokens=tokens))


def embed_paid(
    model: EmbeddingModel,
    texts: Sequence[str],
    send: Callable[[], object],
    *,
    reported: Callable[[], int | None] = lambda: None,
) -> Flow[Any]:
    """The vectors of ``texts``, from the provider."""
    request = EmbeddingRequest(model, texts, send, reported=reported)
    permit = yield from model.guard.reserving((yield Count(request)))
    vectors, _ = yield from paid_call(request, permit)
    return vectors


def embed(
    model: EmbeddingModel,
    vectors: VectorCache | None,
    kind: str,
    texts: Sequence[str],
    missing_vectors: Callable[[list[str]], Flow[Sequence[Vector]]],
) -> Flow[list[Vector]]:
    """The vectors of ``texts``, in order; those that are not in the cache are embedded by ``missing_vectors``, each
    once, and kept. ``kind`` keeps documents and queries apart, which many models embed differently."""
    known: dict[str, Vector] = {} if vectors is None else (yield FindVectors(vectors, kind, texts))
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if known:
        model.record_hits([text for text in texts if text in known])
    if missing:
        fresh = dict(zip(missing, (yield from missing_vectors(missing)), strict=True))
        if vectors is not None:
            yield KeepVectors(vectors, kind, fresh)
        known = {**known, **fresh}
    return [list(known[text]) for text in texts]


class FindVectors(NamedTuple):
    """Look vectors up."""

    vectors: VectorCache
    kind: str
    texts: Sequence[str]

    def perform(self) -> dict[str, Vector]:
        return self.vectors.get(self.kind, self.texts)

    async def aperform(self) -> dict[str, Vector]:
        return await self.vectors.aget(self.kind, self.texts)


class KeepVectors(NamedTuple):
    """Store vectors."""

    vectors: VectorCache
    kind: str
    fresh: Mapping[str, Vector]

    def perform(self) -> None:
        self.vectors.put(self.kind, self.fresh)

    async def aperform(self) -> None:
        await self.vectors.aput(self.kind, self.fresh)


class Do(NamedTuple):
    """Call a function of the framework; on an event loop, await what it returns."""

    function: Callable[[], Any]

    def perform(self) -> object:
        return self.function()

    async def aperform(self) -> Any:
        made: Awaitable[Any] = self.function()
        return await made
