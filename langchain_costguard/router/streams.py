"""The streams of a router: read as a whole while they are checked, else until it is known that somebody answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import reduce
from operator import add
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from costguard_core.lifecycle.drivers import arun, run
from costguard_core.routing import Decision
from costguard_core.routing.cascade import AsyncHeldStream, HeldStream, aaccepted_stream, accepted_stream
from langchain_costguard.router.tier_call import TierCall
from langchain_costguard.router.translate import with_route

Stream = HeldStream[AIMessageChunk]
AsyncStream = AsyncHeldStream[AIMessageChunk]
_DELTAS = 2  # events after which it is known that this is not the static reply of a budget, which has one


def routed(call: TierCall[Stream]) -> Iterator[AIMessageChunk]:
    """The chunks of the tier that answers; the first one holds the decision."""
    call.start()
    ask = call.ask("stream")
    stream = accepted_stream(call.cascade, lambda decision: HeldStream(ask(decision)))
    shown = _Shown(call, stream)
    yield from stream.shown(shown.next)
    call.finish(_sum(shown.chunks))


async def arouted(call: TierCall[AsyncStream]) -> AsyncIterator[AIMessageChunk]:
    """:func:`routed` on an event loop."""
    await call.astart()
    ask = call.ask("astream")

    async def open_stream(decision: Decision) -> AsyncStream:
        return AsyncHeldStream(ask(decision))

    stream = await aaccepted_stream(call.cascade, open_stream)
    shown = _Shown(call, stream)
    async with aclosing(stream.shown(shown.next)) as chunks:
        async for chunk in chunks:
            yield chunk
    call.finish(_sum(shown.chunks))


def routed_events(call: TierCall[Any]) -> Any:
    """The stream of ``stream_events(version="v3")`` of the tier that answers. It replays what was read of it."""
    call.start()
    ask = call.ask("stream_events", version="v3")

    def ask_and_read(decision: Decision) -> Any:
        stream, deltas = ask(decision), 0
        if call.cascade.is_checked:
            _ = stream.output  # reads it as a whole
            return stream
        for event in stream:
            deltas += event["event"] == "content-block-delta"
            if deltas >= _DELTAS:
                break
        return stream

    return run(call.cascade.steps(ask_and_read))


async def arouted_events(call: TierCall[Any]) -> Any:
    """:func:`routed_events` on an event loop."""
    await call.astart()
    ask = call.ask("astream_events", version="v3")

    async def ask_and_read(decision: Decision) -> Any:
        stream, deltas = await ask(decision), 0
        if call.cascade.is_checked:
            await stream
            return stream
        async for event in stream:
            deltas += event["event"] == "content-block-delta"
            if deltas >= _DELTAS:
                break
        return stream

    return await arun(call.cascade.steps(ask_and_read))


def message_held(stream: Stream | AsyncStream) -> BaseMessage:
    """The message that the chunks read so far make."""
    return _sum(stream.held)


def message_of_events(stream: Any) -> BaseMessage:
    """The message that the events read so far make."""
    message: BaseMessage = stream.output_message or AIMessage("")
    return message


class _Shown:
    """What the caller of a stream has got so far; kept only for the shadow sample."""

    def __init__(self, call: TierCall[Any], stream: Stream | AsyncStream) -> None:
        self._decision: Decision | None = call.cascade.decision_with_costs(ended=stream.is_whole)
        self._keep = call.cascade.is_sampled
        self.chunks: list[AIMessageChunk] = []

    def next(self, chunk: AIMessageChunk) -> AIMessageChunk:
        """The chunk as the caller gets it. One holds the decision, because sums of chunks join equal strings."""
        if self._keep:
            self.chunks.append(chunk)
        decision, self._decision = self._decision, None
        return chunk if decision is None else with_route(chunk, decision)


def _sum(chunks: list[AIMessageChunk]) -> BaseMessage:
    return reduce(add, chunks) if chunks else AIMessage("")
