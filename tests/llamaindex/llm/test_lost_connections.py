"""A connection that breaks after the request was sent is charged at its hold; one that was never made costs nothing."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from closing_server import ClosingServer, begun, refusing_url
from integrations import LLAMAINDEX, llamaindex_llm
from llama_index.core.llms import ChatMessage

from costguard_core import CostGuard, Event, Outcome
from costguard_core.types import CONNECTION_LOST, NOT_SENT, usd
from llamaindex_costguard import guard_llm, install, uninstall

pytestmark = [  # integrations leave the connections of their clients open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
ANY_PRICE = {"input": "1", "output": "10"}  # dollars per million tokens
WAYS = ["chat", "stream_chat", "achat", "astream_chat"]
# Google's asks its server about the model when it is made. Cohere's `astream_chat` fails by itself.
EVERY = [
    (name, way)
    for name in sorted({*LLAMAINDEX} - {"google_genai"})
    for way in WAYS
    if (name, way) != ("cohere", "astream_chat")
]
CHUNK = b'data: {"id": "1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n'


@pytest.fixture(scope="module")
def closing() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, ClosingServer() as server:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask another host for its prices
        yield server.url
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


async def failed(guard: CostGuard, llm: Any, way: str) -> Event:
    question = [ChatMessage(role="user", content="hi")]
    with pytest.raises(Exception, match=r"."):
        match way:
            case "chat":
                llm.chat(question)
            case "stream_chat":
                list(llm.stream_chat(question))
            case "achat":
                await llm.achat(question)
            case _:
                async for _ in await llm.astream_chat(question):
                    pass
    guard.flush()
    (event,) = guard.ledger.events()
    assert not any(row.held for row in guard.status())
    return event


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
    assert event.outcome is Outcome.ERROR
    assert event.estimated
    assert event.reason is not None
    assert event.reason.endswith(f"({CONNECTION_LOST})")
    assert event.usage.output_tokens >= 256  # nobody knows how much of an answer was computed
    assert event.usage.input_tokens
    assert guard.status()[0].spent == usd(event.cost or 0)


@pytest.mark.slow
@pytest.mark.parametrize(("integration", "way"), EVERY)
async def test_a_refused_connection_costs_nothing(integration: str, way: str) -> None:
    guard = priced_guard(integration)
    event = await failed(guard, guarded(integration, refusing_url(), guard), way)
    assert (event.outcome, event.cost, event.usage.total_tokens) == (Outcome.ERROR, 0, 0)
    assert event.reason is not None
    assert event.reason.endswith(f"({NOT_SENT})")


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
    begins = begun("text/event-stream", *(CHUNK % b"word " for _ in range(50)))
    guard = CostGuard(["$1/day"])
    with ClosingServer(begins) as server:
        event = await failed(guard, guarded("openai", server.url, guard), way)
    assert 45 <= event.usage.output_tokens <= 60
    assert (event.estimated, event.reason) == (True, f"RemoteProtocolError ({CONNECTION_LOST})")
