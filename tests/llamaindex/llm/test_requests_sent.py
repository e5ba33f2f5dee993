"""The guarded LLM sends what the bare one sends, whichever way LlamaIndex calls it, and nothing the second time."""

from __future__ import annotations

from typing import Any

import pytest
from llamaindex_calls import ALL_CALLS, agent_reply, call_model, sent_bodies

from costguard_core import CostGuard
from costguard_core.simulate import Simulator
from llamaindex_costguard import guard_llm


@pytest.fixture
def server(openai_server: Simulator) -> Simulator:
    openai_server.reply = agent_reply
    return openai_server


@pytest.mark.parametrize("method", ALL_CALLS)
async def test_the_same_requests_and_none_the_second_time(method: str, make_llm: Any, server: Simulator) -> None:
    bare = make_llm(system_prompt="Be terse.")
    wanted = await call_model(method, bare)
    sent = sent_bodies(server)
    assert sent
    guard = CostGuard(["1000 requests/day"])
    guarded = guard_llm(make_llm(system_prompt="Be terse."), guard, cache="memory://")

    server.service.requests.clear()
    assert await call_model(method, guarded) == wanted
    assert sent_bodies(server) == sent

    server.service.requests.clear()
    assert await call_model(method, guarded) == wanted
    assert sent_bodies(server) == []
    assert guard.status()[0].spent == len(sent)
    assert guard.status()[0].held == 0


async def test_only_the_limit_is_added_under_a_budget_of_money(make_llm: Any, server: Simulator) -> None:
    guarded = guard_llm(make_llm(), CostGuard(["$1/day"]))
    await call_model("chat", make_llm())
    await call_model("chat", guarded)
    bare, capped = (request.body for request in server.requests)
    assert {**bare, "max_tokens": capped["max_tokens"]} == capped
