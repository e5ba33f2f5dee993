"""A connection that breaks after the request was sent is charged at its hold; one that was never made costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from closing_server import FIFTY_WORDS, ClosingServer, refusing_url
from integrations import LANGCHAIN, langchain_model
from langchain_models import WAYS, ask
from langchain_openai import ChatOpenAI
from lost_calls import check_charged_at_hold, check_charged_what_arrived, check_cost_nothing, failed_call
from open_connections import IGNORED_WARNINGS, collected_afterwards

from costguard_core import CostGuard, Event
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel

pytestmark = IGNORED_WARNINGS
ANY_PRICE = {"input": "1", "output": "10"}  # dollars per million tokens


@pytest.fixture(scope="module")
def closing() -> Iterator[str]:
    with collected_afterwards(), ClosingServer() as server:
        yield server.url


async def failed(guard: CostGuard, model: Any, way: str, **more: Any) -> Event:
    with pytest.raises(Exception, match=r"."):
        await ask(model, way, **more)
    return failed_call(guard)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("integration", LANGCHAIN)
async def test_a_request_that_was_read_is_charged_at_its_hold(integration: str, way: str, closing: str) -> None:
    name = LANGCHAIN[integration]
    guard = CostGuard(["$1/day"], prices={name: ANY_PRICE})
    model = GuardedChatModel(langchain_model(integration, closing, name), guard, cache=False)
    event = await failed(guard, model, way)
    check_charged_at_hold(guard, event, output_tokens=4096)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("integration", sorted({*LANGCHAIN} - {"openrouter"}))  # its client tries for minutes
async def test_a_refused_connection_costs_nothing(integration: str, way: str) -> None:
    name = LANGCHAIN[integration]
    guard = CostGuard(["$1/day"], prices={name: ANY_PRICE})
    model = GuardedChatModel(langchain_model(integration, refusing_url(), name), guard, cache=False)
    event = await failed(guard, model, way)
    check_cost_nothing(event)


@pytest.mark.parametrize("way", WAYS)
async def test_the_handler_charges_the_same(way: str, closing: str) -> None:
    guard = CostGuard(["$1/day"])
    model = ChatOpenAI(model="gpt-4o", base_url=f"{closing}/v1", api_key="x", max_retries=0)
    event = await failed(guard, model, way, config={"callbacks": [CostGuardCallbackHandler(guard)]})
    assert event.estimated
    assert event.usage.output_tokens == 4096
    assert event.usage.input_tokens


@pytest.mark.parametrize("way", WAYS)
async def test_without_a_budget_the_prompt_is_counted_too(way: str, closing: str) -> None:
    guard = CostGuard()
    model = ChatOpenAI(model="gpt-4o", base_url=f"{closing}/v1", api_key="x", max_retries=0)
    event = await failed(guard, GuardedChatModel(model, guard, cache=False), way)
    assert 0 < event.usage.input_tokens < 20
    assert event.cost


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_breaks_is_charged_what_arrived(way: str) -> None:
    guard = CostGuard(["$1/day"])
    with ClosingServer(FIFTY_WORDS) as server:
        model = ChatOpenAI(model="gpt-4o", base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        event = await failed(guard, GuardedChatModel(model, guard, cache=False), way)
    check_charged_what_arrived(event)


async def test_each_attempt_that_may_be_billed_is_charged(closing: str) -> None:
    model = ChatOpenAI(model="gpt-4o", base_url=f"{closing}/v1", api_key="x", max_retries=0)
    charged = []
    for attempts in (1, 3):
        guard = CostGuard(["$1/day"])
        guarded = GuardedChatModel(model, guard, cache=False, billed_attempts=attempts)
        charged.append((await failed(guard, guarded, "invoke")).cost or 0)
    assert 0 < 3 * charged[0] == charged[1]
