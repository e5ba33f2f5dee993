"""``stream_events(version="v3")`` of a router: streams that replay what was held back while it was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import SpendLimitExceeded
from langchain_costguard.router import steps as legs
from langchain_costguard.router.cascade import Journey

if TYPE_CHECKING:
    from langchain_costguard.router.router import TieredRouter

_SHOWN = 2  # deltas after which it is known that this is not the static reply of a budget, which is one


def routed(
    router: TieredRouter, messages: list[BaseMessage], config: RunnableConfig, stop: Any, kwargs: dict[str, Any]
) -> Any:
    """The stream of the tier that answers. It remembers its events, so whoever reads it sees all of them."""
    journey = router._journey(messages, config, kwargs, message_of=_message)
    while True:
        model, options = legs.bound(router.models[journey.decision.tier], kwargs)
        stream = model.stream_events(messages, journey.config(config), version="v3", stop=stop, **options)
        try:
            if journey.is_checked:
                _ = stream.output
            else:
                _begin(stream)
        except SpendLimitExceeded as refusal:
            kept = journey.refused(refusal)
            if kept is not None:
                return kept
            continue
        if journey.accepts(stream):
            return journey.arrived(stream)


async def arouted(
    router: TieredRouter, messages: list[BaseMessage], config: RunnableConfig, stop: Any, kwargs: dict[str, Any]
) -> Any:
    """:func:`routed` on an event loop."""
    journey: Journey[Any] = await router._ajourney(messages, config, kwargs, message_of=_message)
    while True:
        model, options = legs.bound(router.models[journey.decision.tier], kwargs)
        stream = await model.astream_events(messages, journey.config(config), version="v3", stop=stop, **options)
        try:
            if journey.is_checked:
                await stream
            else:
                await _abegin(stream)
        except SpendLimitExceeded as refusal:
            kept = journey.refused(refusal)
            if kept is not None:
                return kept
            continue
        if journey.accepts(stream):
            return journey.arrived(stream)


def _begin(stream: Any) -> None:
    """Read until it is known whether somebody answers; raises what the provider or a budget raises before."""
    deltas = 0
    for event in stream:
        deltas += event["event"] == "content-block-delta"
        if deltas >= _SHOWN:
            return


async def _abegin(stream: Any) -> None:
    deltas = 0
    async for event in stream:
        deltas += event["event"] == "content-block-delta"
        if deltas >= _SHOWN:
            return


def _message(stream: Any) -> BaseMessage:
    return cast(BaseMessage, stream.output_message or AIMessage(""))
