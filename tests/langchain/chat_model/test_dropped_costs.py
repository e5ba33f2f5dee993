"""What providers say that a call cost, where LangChain's integration drops it: read at the client."""

from __future__ import annotations

from typing import Any

import pytest
from integrations import langchain_model
from ledger_events import events
from open_connections import IGNORED_WARNINGS, collected_afterwards
from provider_server import ProviderServer

from costguard_core import CostGuard, Event
from langchain_costguard import GuardedChatModel

pytestmark = IGNORED_WARNINGS
COUNTS = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
STATED = [
    ("perplexity", "sonar", {**COUNTS, "cost": {"request_cost": 0.005, "total_cost": 0.0056}}, 5_600_000),
    ("xai", "grok-3", {**COUNTS, "cost_in_usd_ticks": 37_756_000}, 3_775_600),
]


async def asked(integration: str, model: str, usage: dict[str, Any], way: str) -> Event:
    with collected_afterwards(), ProviderServer(usage=usage) as server, CostGuard() as guard:
        guarded = GuardedChatModel(langchain_model(integration, server.url, model), guard, cache=False)
        match way:
            case "invoke":
                guarded.invoke("hi")
            case "ainvoke":
                await guarded.ainvoke("hi")
            case "stream":
                list(guarded.stream("hi"))
            case "astream":
                _ = [chunk async for chunk in guarded.astream("hi")]
        (event,) = events(guard)
    return event


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize(("integration", "model", "usage", "nanos"), STATED)
async def test_a_stated_cost_is_charged_in_every_way_of_calling(
    integration: str, model: str, usage: dict[str, Any], nanos: int, way: str
) -> None:
    event = await asked(integration, model, usage, way)
    assert (event.cost, event.priced_by, event.usage.input_tokens) == (nanos, "provider", 100)


@pytest.mark.parametrize("way", ["invoke", "astream"])
async def test_deep_research_without_a_stated_cost_is_charged_with_all_its_parts(way: str) -> None:
    parts = {"citation_tokens": 20_000, "num_search_queries": 18, "reasoning_tokens": 70_000}
    event = await asked("perplexity", "sonar-deep-research", {**COUNTS, **parts}, way)
    expected = 100 * 2_000 + 50 * 8_000 + 20_000 * 2_000 + 70_000 * 3_000 + 18 * 5_000_000
    assert event.cost == expected
