"""Streams whose consumers go away: in the middle, inside the garbage collector, before the first chunk."""

from __future__ import annotations

import asyncio
import gc
import logging
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from python_process import run_python

from costguard_core import CostGuard, Event, Outcome
from langchain_costguard import CostGuardCallbackHandler, ExactCache, GuardedChatModel

# Collections at ever different places find streams in reference cycles: one of them is inside every lock.
COLLECTED = """
    import gc
    from langchain_core.language_models import FakeListChatModel
    from langchain_costguard import CostGuard, CostGuardCallbackHandler, ExactCache, GuardedChatModel

    guard = CostGuard(["1000000 requests/hour"])
    bare = FakeListChatModel(responses=["hello world"])
    if {handler}:
        model, config = bare, {{"callbacks": [CostGuardCallbackHandler(guard)]}}
    else:
        model, config = GuardedChatModel(bare, guard, cache=ExactCache()), {{}}
    for number in range(600):
        gc.set_threshold(20 + number % 97, 2, 2)
        cycle = {{"stream": model.stream(f"hi {{number}}", config)}}
        cycle["self"] = cycle
        next(cycle["stream"])
        del cycle
    gc.set_threshold(700, 10, 10)
    gc.collect()
    row = guard.status()[0]
    print(int(row.spent), int(row.held))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["guarded", "handler"])
def test_streams_that_the_garbage_collector_ends_never_wait_for_a_lock(way: str) -> None:
    program = textwrap.dedent(COLLECTED).format(handler=way == "handler")
    done = run_python(program, check=False)
    assert (done.stdout.split(), done.returncode) == (["600", "0"], 0), done.stderr


class Silent(BaseChatModel):
    """Its streams end before they begin."""

    @property
    def _llm_type(self) -> str:
        return "silent"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("yes"))])

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from ()


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stream_without_a_chunk_holds_nothing_afterwards(kind: str, cached: bool) -> None:
    events: list[Any] = []
    guard = CostGuard(["100000 tokens/hour", "9 requests/hour"], hooks=[events.append])
    model = GuardedChatModel(Silent(), guard, cache=ExactCache() if cached else False)
    with pytest.raises(ValueError, match="No generation"):
        _ = list(model.stream("hello")) if kind == "sync" else [chunk async for chunk in model.astream("hello")]
    assert [int(row.held) for row in guard.status()] == [0, 0]
    assert len(events) == 1


async def test_a_client_that_disconnects_leaves_no_word_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    guard = CostGuard(["9 requests/hour"], hooks=[events.append])  # type: ignore[list-item]
    model = GuardedChatModel(FakeListChatModel(responses=["hello world"]), guard, cache=False)
    with caplog.at_level(logging.WARNING):
        dropped = model.astream("hi")
        await anext(dropped)
        del dropped
        gc.collect()
        closed = model.astream("hi")
        await anext(closed)
        await closed.aclose()  # type: ignore[attr-defined]
        while len(guard.status()) and int(guard.status()[0].held):  # the loop closes what was dropped in a task
            await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == []
    assert [event.outcome for event in events] == [Outcome.ABANDONED] * 2


def test_a_handler_is_told_of_a_dropped_stream_without_a_lock() -> None:
    events: list[Event] = []
    guard = CostGuard(["9 requests/hour"], hooks=[events.append])  # type: ignore[list-item]
    model = FakeListChatModel(responses=["hello world"])
    dropped = model.stream("hi", {"callbacks": [CostGuardCallbackHandler(guard)]})
    next(dropped)
    dropped.close()  # type: ignore[attr-defined]
    assert events == []
    assert (int(guard.status()[0].held), [event.outcome for event in events]) == (0, [Outcome.ABANDONED])
