"""A connection that breaks after the request was sent is charged at its hold; one that was never made costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from closing_server import FIFTY_WORDS, ClosingServer, refusing_url
from integrations import LLAMAINDEX, llamaindex_llm
from llamaindex_calls import call_model
from lost_calls import check_charged_at_hold, check_charged_what_arrived, check_cost_nothing, failed_call
from open_connections import IGNORED_WARNINGS, collected_afterwards

from costguard_core import CostGuard, Event
from llamaindex_costguard import guard_llm, install, uninstall

pytestmark = IGNORED_WARNINGS
ANY_PRICE = {"input": "1", "output": "10"}  # dollars per million tokens
WAYS = ["chat", "stream_chat", "achat", "astream_chat"]
# Google's asks its server about the model when it is made. Cohere's `astream_chat` fails by itself.
EVERY = [
    (name, way)
    for name in sorted({*LLAMAINDEX} - {"google_genai"})
    for way in WAYS
    if (name, way) != ("cohere", "astream_chat")
]


@pytest.fixture(scope="module")
def closing() -> Iterator[str]:
    with collected_afterwards(), ClosingServer() as server:
        yield server.url


async def failed(guard: CostGuard, llm: Any, way: str) -> Event:
    with pytest.raises(Exception, match=r"."):
        await call_model(way, llm)
    return failed_call(guard)


def guarded(integration: str, url: str, guard: CostGuard) -> Any:
    return guard_llm(llamaindex_llm(integration, url, LLAMAINDEX[integration]), guard)


def priced_guard(integration: str) -> CostGuard:
    name = LLAMAINDEX[integration]
    return CostGuard(["$1/day"], prices={name: ANY_PRICE, f"openai/{name}": ANY_PRICE})


@pytest.mark.slow
@pytest.mark.parametrize(("integration", "way"), EVERY)
async def test_a_request_that_was_read_is_charged_at_its_hold(integration: str, way: str, closing: str) -> None:
    guard = priced_guard(integration)
    event = await failed(guard, guarded(integration, closing, guard), way)
    check_charged_at_hold(guard, event, output_tokens=256)


@pytest.mark.slow
@pytest.mark.parametrize(("integration", "way"), EVERY)
async def test_a_refused_connection_costs_nothing(integration: str, way: str) -> None:
    guard = priced_guard(integration)
    event = await failed(guard, guarded(integration, refusing_url(), guard), way)
    check_cost_nothing(event)


@pytest.mark.parametrize("way", WAYS)
async def test_what_only_install_sees_is_charged_the_same(way: str, closing: str) -> None:
    guard = CostGuard()
    install(guard)
    try:
        event = await failed(guard, llamaindex_llm("openai", closing, "gpt-4o"), way)
    finally:
        uninstall()
    assert event.estimated
    assert event.usage.input_tokens
    assert event.usage.output_tokens == 4096
    assert event.cost


@pytest.mark.parametrize("way", ["stream_chat", "astream_chat"])
async def test_a_stream_that_breaks_is_charged_what_arrived(way: str) -> None:
    guard = CostGuard(["$1/day"])
    with ClosingServer(FIFTY_WORDS) as server:
        event = await failed(guard, guarded("openai", server.url, guard), way)
    check_charged_what_arrived(event)
