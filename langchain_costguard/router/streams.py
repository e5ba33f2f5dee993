"""The streams of a router: read as a whole while they are checked, else until it is known that somebody answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from costguard_core.lifecycle.drivers import arun, run
from costguard_core.routing import Decision
from costguard_core.routing.cascade import AsyncHeldStream, HeldStream, aaccepted_stream, accepted_stream
from langchain_costguard.router.tier_call import TierCall, joined

Stream = HeldStream[AIMessageChunk]
AsyncStream = AsyncHeldStream[AIMessageChunk]
_DELTAS = 2  # events after which it is known that this is not the static reply of a budget, which has one


def routed(call: TierCall[Stream]) -> Iterator[AIMessageChunk]:
    """The chunks of the tier that answers; the first one holds the decision."""
    ask = call.start().ask("stream")
    yield from call.shown(accepted_stream(call.cascade, lambda decision: HeldStream(ask(decision))))


async def arouted(call: TierCall[AsyncStream]) -> AsyncIterator[AIMessageChunk]:
    """:func:`routed` on an event loop."""
    ask = (await call.astart()).ask("astream")

    async def open_stream(decision: Decision) -> AsyncStream:
        return AsyncHeldStream(ask(decision))

    async with aclosing(call.ashown(await aaccepted_stream(call.cascade, open_stream))) as chunks:
        async for chunk in chunks:
            yield chunk


def routed_events(call: TierCall[object]) -> Any:
    """The stream of ``stream_events(version="v3")`` of the tier that answers. It replays what was read of it."""
    ask = call.start().ask("stream_events", version="v3")

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


async def arouted_events(call: TierCall[object]) -> Any:
    """:func:`routed_events` on an event loop."""
    ask = (await call.astart()).ask("astream_events", version="v3")

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
    return joined(stream.held)


def message_of_events(stream: Any) -> BaseMessage:
    """The message that the events read so far make."""
    message: BaseMessage = stream.output_message or AIMessage("")
    return message
