"""A connection that breaks after the request was sent is charged at its hold; one that was never made costs nothing."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from closing_server import ClosingServer, begun, refusing_url
from integrations import LANGCHAIN, langchain_model
from langchain_openai import ChatOpenAI

from costguard_core import CostGuard, Event, Outcome
from costguard_core.types import CONNECTION_LOST, NOT_SENT, usd
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel

pytestmark = [  # integrations leave the connections of their clients open, and are not all up to date themselves
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ANY_PRICE = {"input": "1", "output": "10"}  # dollars per million tokens
WAYS = ["invoke", "stream", "ainvoke", "astream"]
CHUNK = b'data: {"id": "1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n'


@pytest.fixture(scope="module")
def closing() -> Iterator[str]:
    with ClosingServer() as server:
        yield server.url
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


async def ask(model: Any, way: str, **more: Any) -> None:
    match way:
        case "invoke":
            model.invoke("hi", **more)
        case "stream":
            list(model.stream("hi", **more))
        case "ainvoke":
            await model.ainvoke("hi", **more)
        case _:
            async for _ in model.astream("hi", **more):
                pass


async def failed(guard: CostGuard, model: Any, way: str, **more: Any) -> Event:
    with pytest.raises(Exception, match=r"."):
        await ask(model, way, **more)
    guard.flush()
    (event,) = guard.ledger.events()
    assert not any(row.held for row in guard.status())
    return event


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("integration", LANGCHAIN)
async def test_a_request_that_was_read_is_charged_at_its_hold(integration: str, way: str, closing: str) -> None:
    name = LANGCHAIN[integration]
    guard = CostGuard(["$1/day"], prices={name: ANY_PRICE})
    model = GuardedChatModel(langchain_model(integration, closing, name), guard, cache=False)
    event = await failed(guard, model, way)
    assert event.outcome is Outcome.ERROR
    assert event.estimated
    assert event.reason is not None
    assert event.reason.endswith(f"({CONNECTION_LOST})")
    assert event.usage.output_tokens >= 4096  # nobody knows how much of an answer was computed
    assert event.usage.input_tokens
    assert guard.status()[0].spent == usd(event.cost or 0)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("integration", sorted({*LANGCHAIN} - {"openrouter"}))  # its client tries for minutes
async def test_a_refused_connection_costs_nothing(integration: str, way: str) -> None:
    name = LANGCHAIN[integration]
    guard = CostGuard(["$1/day"], prices={name: ANY_PRICE})
    model = GuardedChatModel(langchain_model(integration, refusing_url(), name), guard, cache=False)
    event = await failed(guard, model, way)
    assert (event.outcome, event.cost, event.usage.total_tokens) == (Outcome.ERROR, 0, 0)
    assert event.reason is not None
    assert event.reason.endswith(f"({NOT_SENT})")


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
    begins = begun("text/event-stream", *(CHUNK % b"word " for _ in range(50)))
    guard = CostGuard(["$1/day"])
    with ClosingServer(begins) as server:
        model = ChatOpenAI(model="gpt-4o", base_url=f"{server.url}/v1", api_key="x", max_retries=0)
        event = await failed(guard, GuardedChatModel(model, guard, cache=False), way)
    assert 45 <= event.usage.output_tokens <= 60
    assert (event.estimated, event.reason) == (True, f"RemoteProtocolError ({CONNECTION_LOST})")


async def test_each_attempt_that_may_be_billed_is_charged(closing: str) -> None:
    model = ChatOpenAI(model="gpt-4o", base_url=f"{closing}/v1", api_key="x", max_retries=0)
    charged = []
    for attempts in (1, 3):
        guard = CostGuard(["$1/day"])
        guarded = GuardedChatModel(model, guard, cache=False, billed_attempts=attempts)
        charged.append((await failed(guard, guarded, "invoke")).cost or 0)
    assert 0 < 3 * charged[0] == charged[1]
