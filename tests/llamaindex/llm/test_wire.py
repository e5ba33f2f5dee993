"""The guarded LLM sends what the bare one sends, whichever way LlamaIndex calls it, and nothing the second time."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
import rag

from costguard_core import CostGuard
from costguard_core.simulate import Simulator
from llamaindex_costguard import guard_llm

WAYS = [*rag.SYNC, *rag.ASYNC]


@pytest.fixture
def server(openai_server: Simulator) -> Simulator:
    openai_server.reply = rag.reply
    return openai_server


async def run(way: str, llm: Any) -> Any:
    done = rag.SYNC[way](llm) if way in rag.SYNC else rag.ASYNC[way](llm)
    return await done if isinstance(done, Awaitable) else done


def bodies(server: Simulator) -> list[dict[str, Any]]:
    """What was sent, without the one thing that is added on purpose."""
    sent = [
        {name: value for name, value in request.body.items() if name != "stream_options"} for request in server.requests
    ]
    return sorted(sent, key=str)


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_requests_and_none_the_second_time(way: str, make_llm: Any, server: Simulator) -> None:
    bare = make_llm(system_prompt="Be terse.")
    wanted = await run(way, bare)
    sent = bodies(server)
    assert sent
    guard = CostGuard(["1000 requests/day"])
    guarded = guard_llm(make_llm(system_prompt="Be terse."), guard, cache="memory://")

    server.service.requests.clear()
    assert await run(way, guarded) == wanted
    assert bodies(server) == sent

    server.service.requests.clear()
    assert await run(way, guarded) == wanted
    assert bodies(server) == []
    assert guard.status()[0].spent == len(sent)
    assert guard.status()[0].held == 0


async def test_only_the_limit_is_added_under_a_budget_of_money(make_llm: Any, server: Simulator) -> None:
    guarded = guard_llm(make_llm(), CostGuard(["$1/day"]))
    await run("chat", make_llm())
    await run("chat", guarded)
    bare, capped = (request.body for request in server.requests)
    assert {**bare, "max_tokens": capped["max_tokens"]} == capped
