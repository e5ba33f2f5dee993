"""``stream`` and ``astream`` of a router: held back whole while it is checked, else until somebody answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import SpendLimitExceeded
from langchain_costguard.router import steps as legs
from langchain_costguard.router.cascade import Journey

if TYPE_CHECKING:
    from langchain_costguard.router.router import TieredRouter

Chunks = list[AIMessageChunk]


def routed(
    router: TieredRouter, messages: list[BaseMessage], config: RunnableConfig, stop: Any, kwargs: dict[str, Any]
) -> Iterator[AIMessageChunk]:
    """The chunks of the tier that answers; the first one says why it does."""
    journey: Journey[Chunks] = router._journey(messages, config, kwargs, message_of=legs.whole)
    held: Chunks | None
    while True:
        model, options = legs.bound(router.models[journey.decision.tier], kwargs)
        chunks = model.stream(messages, journey.config(config), stop=stop, **options)
        try:
            # A checked answer is held back whole; any other one until it is known not to be a refusal.
            held = list(chunks if journey.is_checked else islice(chunks, 1))
            accepted = journey.accepts(held)
        except SpendLimitExceeded as refusal:
            held, accepted = journey.refused(refusal), True
        if accepted and held is not None:
            break
        chunks.close()
    shown = journey.arrived(held)
    told = journey.costed(ended=journey.is_checked or shown is not held)
    kept = legs.Kept(shown, wanted=journey.decision.sample is not None)
    with closing(chunks):
        yield from legs.marked_stream(shown, told)
        if shown is held:
            yield from map(kept.seen, chunks)
    journey.finished(kept.message, router._asking(messages, stop, kwargs), config)


async def arouted(
    router: TieredRouter, messages: list[BaseMessage], config: RunnableConfig, stop: Any, kwargs: dict[str, Any]
) -> AsyncIterator[AIMessageChunk]:
    """:func:`routed` on an event loop."""
    journey: Journey[Chunks] = await router._ajourney(messages, config, kwargs, message_of=legs.whole)
    held: Chunks | None
    while True:
        model, options = legs.bound(router.models[journey.decision.tier], kwargs)
        chunks = model.astream(messages, journey.config(config), stop=stop, **options)
        try:
            held = await legs.gathered(chunks, only_first=not journey.is_checked)
            accepted = journey.accepts(held)
        except SpendLimitExceeded as refusal:
            held, accepted = journey.refused(refusal), True
        if accepted and held is not None:
            break
        await chunks.aclose()
    shown = journey.arrived(held)
    told = journey.costed(ended=journey.is_checked or shown is not held)
    kept = legs.Kept(shown, wanted=journey.decision.sample is not None)
    async with aclosing(chunks):
        for chunk in legs.marked_stream(shown, told):
            yield chunk
        if shown is held:
            async for chunk in chunks:
                yield kept.seen(chunk)
    journey.finished(kept.message, router._asking(messages, stop, kwargs), config)
