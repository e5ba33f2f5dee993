"""The four ways to ask tiers until one has the answer: at once or as a stream, each also for an event loop.

A stream is opened when it is asked for, so that a budget refuses then, and read when somebody reads it. A checked one
is held back whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from llama_index.core.llms import LLM

from costguard_core import SpendLimitExceeded
from costguard_core.routing import Decision
from costguard_core.routing.cascade import Journey, atravel, travel
from llamaindex_costguard.llm.call_context import RouteContext, in_route_context
from llamaindex_costguard.router import translate as routes
from llamaindex_costguard.router.requests import Ask, Got, is_unparsed
from llamaindex_costguard.translate.responses import RESPONSES

_END: Any = object()


class Way(NamedTuple):
    """A request on its way through the tiers."""

    ask: Ask
    journey: Journey[Got]
    tiers: Mapping[str, LLM]

    # At once

    def call(self) -> Got:
        return travel(self.journey, self._asked)

    async def acall(self) -> Got:
        return await atravel(self.journey, self._aasked)

    def _asked(self, decision: Decision) -> Got:
        context, provider = self._route_context(decision)
        with in_route_context(context):
            try:
                return Got(self.ask.of(self.tiers[decision.tier]), context, provider)
            except Exception as error:
                return self._unparsed(error, context, provider)

    async def _aasked(self, decision: Decision) -> Got:
        context, provider = self._route_context(decision)
        with in_route_context(context):
            try:
                return Got(await self.ask.of(self.tiers[decision.tier]), context, provider)
            except Exception as error:
                return self._unparsed(error, context, provider)

    # As a stream

    def stream(self) -> Generator[Any, None, None]:
        return self._read(self._opened())

    async def astream(self) -> AsyncGenerator[Any, None]:
        return self._aread(await self._aopened())

    def _opened(self) -> _Chunks:
        """The stream of the first tier that no budget refuses."""
        while True:
            context, provider = self._route_context(self.journey.decision)
            try:
                with in_route_context(context):
                    return _Chunks(iter(self.ask.of(self.tiers[self.journey.decision.tier])), context, provider)
            except SpendLimitExceeded as refusal:
                self._give_way(refusal)

    async def _aopened(self) -> _AsyncChunks:
        while True:
            context, provider = self._route_context(self.journey.decision)
            try:
                with in_route_context(context):
                    made = await self.ask.of(self.tiers[self.journey.decision.tier])
                    return _AsyncChunks(aiter(made), context, provider)
            except SpendLimitExceeded as refusal:
                self._give_way(refusal)

    def _read(self, chunks: _Chunks) -> Generator[Any, None, None]:
        held, chunks = self._settled(chunks)
        shown = self.journey.arrived(held)
        try:
            yield from self._shown(shown)
            if shown is held:
                for chunk in chunks:
                    yield self._marked(chunk)
        finally:
            chunks.close()

    async def _aread(self, chunks: _AsyncChunks) -> AsyncGenerator[Any, None]:
        held, chunks = await self._asettled(chunks)
        shown = self.journey.arrived(held)
        try:
            for chunk in self._shown(shown):
                yield chunk
            if shown is held:
                async for chunk in chunks:
                    yield self._marked(chunk)
        finally:
            await chunks.close()

    def _settled(self, chunks: _Chunks) -> tuple[Got, _Chunks]:
        """What is held back of the stream that is to be shown, and the rest of it."""
        while True:
            try:
                held = self._got(chunks)
                if self.journey.accepts(held):
                    return held, chunks
                chunks.close()
                chunks = self._opened()
            except SpendLimitExceeded as refusal:
                kept = self.journey.refused(refusal)
                if kept is not None:
                    return kept, chunks
                chunks = self._opened()
            except BaseException:
                chunks.close()
                raise

    async def _asettled(self, chunks: _AsyncChunks) -> tuple[Got, _AsyncChunks]:
        while True:
            try:
                held = await self._agot(chunks)
                if self.journey.accepts(held):
                    return held, chunks
                await chunks.close()
                chunks = await self._aopened()
            except SpendLimitExceeded as refusal:
                kept = self.journey.refused(refusal)
                if kept is not None:
                    return kept, chunks
                chunks = await self._aopened()
            except BaseException:
                await chunks.close()
                raise

    def _got(self, chunks: _Chunks) -> Got:
        """All of a stream that is checked; of any other, one chunk: then it is known not to be a refusal."""
        held: list[Any] = []
        try:
            held.extend(chunks if self.journey.is_checked else islice(chunks, 1))
        except Exception as error:
            return self._unparsed(error, chunks.route_context, chunks.provider)
        return Got(held, chunks.route_context, chunks.provider)

    async def _agot(self, chunks: _AsyncChunks) -> Got:
        held: list[Any] = []
        try:
            async for chunk in chunks:
                held.append(chunk)
                if not self.journey.is_checked:
                    break
        except Exception as error:
            return self._unparsed(error, chunks.route_context, chunks.provider)
        return Got(held, chunks.route_context, chunks.provider)

    # What is the same for all

    def _route_context(self, decision: Decision) -> tuple[RouteContext, str | None]:
        return RouteContext(decision.text, self.journey.baseline()), self.journey.bill.models[decision.tier].provider

    def _unparsed(self, error: Exception, context: RouteContext, provider: str | None) -> Got:
        """To a check, what cannot be parsed is an answer that did not pass; to everybody else it is an error."""
        if not self.journey.is_checked or not is_unparsed(error):
            raise error
        return Got(None, context, provider, error)

    def _give_way(self, refusal: SpendLimitExceeded) -> None:
        if self.journey.refused(refusal) is not None:
            raise refusal  # nothing is opened after an answer that was kept: see _read

    def _shown(self, got: Got) -> Iterator[Any]:
        if got.error is not None:
            raise got.error
        return (self._marked(chunk) for chunk in got.value)

    def _marked(self, chunk: Any) -> Any:
        if not isinstance(chunk, RESPONSES):
            return chunk
        return routes.marked(chunk, self.journey.costed(ended=self.journey.is_checked).as_dict())


class _Chunks(Iterator[Any]):
    """A stream of one tier, each step made in the name of the decision that led there."""

    def __init__(self, inner: Iterator[Any], context: RouteContext, provider: str | None) -> None:
        self._inner, self.route_context, self.provider = inner, context, provider

    def __next__(self) -> Any:
        with in_route_context(self.route_context):
            chunk = next(self._inner, _END)
        if chunk is _END:
            raise StopIteration
        return chunk

    def close(self) -> None:
        close = getattr(self._inner, "close", None)
        if callable(close):
            close()


class _AsyncChunks(AsyncIterator[Any]):
    """:class:`_Chunks` for an event loop."""

    def __init__(self, inner: AsyncIterator[Any], context: RouteContext, provider: str | None) -> None:
        self._inner, self.route_context, self.provider = inner, context, provider

    async def __anext__(self) -> Any:
        with in_route_context(self.route_context):
            chunk = await anext(self._inner, _END)
        if chunk is _END:
            raise StopAsyncIteration
        return chunk

    async def close(self) -> None:
        close = getattr(self._inner, "aclose", None)
        if callable(close):
            await close()
